"""`syncline parked`: the keys whose rows the target could not take."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="parked",
    help="The keys whose rows the target could not take: list them, try them again, give them up.",
    no_args_is_help=True,
)

Source = Annotated[str, typer.Argument(metavar="FROM", help="The source, written as for sync.")]
Target = Annotated[str, typer.Argument(metavar="TO", help="The target, written as for sync.")]
Table = Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Only keys of this table.")]
Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY]…", help="Only these keys, written as the list shows them."),
]


@app.command("list")
def show(
    source: Source,
    target: Target,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")] = False,
) -> int:
    """List the parked keys, each with its reason. Exit code 1 when there are any."""
    from ...control.parked import parked, show_key
    from ..figures import printable

    entries = parked(source, target)
    if as_json:
        import orjson

        members = [
            {
                "table": str(entry.table),
                "key": show_key(entry),
                "reason": entry.reason,
                "since": entry.since,
                "asked": entry.asked,
            }
            for entry in entries
        ]
        typer.echo(orjson.dumps({"parked": members}, option=orjson.OPT_INDENT_2).decode())
        return 1 if entries else 0
    for entry in entries:
        asked = " (to be tried again)" if entry.asked else ""
        typer.echo(printable(f"{entry.table}  {show_key(entry)}  {entry.reason}{asked}"))
    if not entries:
        typer.echo("no key is parked")
    return 1 if entries else 0


@app.command()
def retry(source: Source, target: Target, table: Table = None, keys: Keys = None) -> int:
    """Try parked keys again: by the sync that follows now, or else at the start of the next one."""
    from ...control.parked import retry as ask

    count = ask(source, target, table, keys or ())
    typer.echo(f"{count:,} parked keys will be tried again by the running sync, or by the next")
    return 0


@app.command()
def drop(source: Source, target: Target, table: Table = None, keys: Keys = None) -> int:
    """Give parked keys up: their rows at TO stay as they are until the source changes them again."""
    from ...control.parked import drop as give_up

    count = give_up(source, target, table, keys or ())
    typer.echo(f"{count:,} parked keys are given up; verdicts count their rows again")
    return 0
