"""`syncline parked`: the keys whose rows the target could not take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..chosen import PAIR, Config, Json, Pair
from ..figures import counted, printable
from ..output import write_json

if TYPE_CHECKING:
    from ...control.pairs import Pair as Pairs
    from ...model import Parked

app = typer.Typer(
    name="parked",
    help="The keys whose rows the target could not take: list, show, retry or drop them.",
    no_args_is_help=True,
)

Words = Annotated[
    list[str],
    typer.Argument(
        metavar=f"{PAIR} [TABLE [KEY]…]",
        help="A pipeline by its name, or two databases as for sync; then only keys of this table, and only"
        " these keys, written as the list shows them.",
    ),
]


@app.command("list")
def list_(words: Pair, config: Config = None, as_json: Json = False) -> int:
    """List the parked keys, each with its reason. Exit code 1 when there are any."""
    from ...control.pairs import resolve_alone
    from ...control.parked import parked, show_key

    entries = parked(resolve_alone(words, "parked list", config))
    status = 1 if entries else 0
    if as_json:
        return write_json({"parked": [_members(entry) for entry in entries]}, status)
    for entry in entries:
        asked = " (to be tried again)" if entry.asked else ""
        typer.echo(printable(f"{entry.table}  {show_key(entry)}  {entry.reason}{asked}"))
    if not entries:
        typer.echo("no key is parked")
    return status


@app.command()
def show(words: Words, config: Config = None, as_json: Json = False) -> int:
    """Show parked keys with their reason and their row as FROM has it now. Masked columns stay masked."""
    from ...control.parked import show as look
    from ...control.parked import show_key

    shown = look(*_meant(words, "show", config))
    if as_json:
        documents = [_members(one.entry) | {"row": _texts(one.row), "why": one.why} for one in shown]
        return write_json({"parked": documents}, 0)
    for one in shown:
        typer.echo(printable(f"{one.entry.table}  {show_key(one.entry)}"))
        typer.echo(printable(f"  reason  {one.entry.reason}"))
        if one.row is None:
            typer.echo(printable(f"  row     {one.why}"))
        for column, text in (_texts(one.row) or {}).items():
            typer.echo(printable(f"  {column} = {'NULL' if text is None else text}"))
    return 0


@app.command()
def retry(words: Words, config: Config = None) -> int:
    """Try parked keys again: by the sync that follows now, or else at the start of the next one."""
    from ...control.parked import retry as ask

    count = ask(*_meant(words, "retry", config))
    typer.echo(f"{counted(count, 'parked key')} will be tried again by the running sync, or by the next")
    return 0


@app.command()
def drop(words: Words, config: Config = None) -> int:
    """Give parked keys up: their rows at TO stay as they are until the source changes them again."""
    from ...control.parked import drop as give_up

    count = give_up(*_meant(words, "drop", config))
    typer.echo(f"{counted(count, 'parked key')} given up; verdicts count their rows again")
    return 0


def _meant(words: list[str], command: str, config: Path | None) -> tuple[Pairs, str | None, list[str]]:
    from ...control.pairs import resolve

    pair, rest = resolve(words, f"parked {command}", config)
    return pair, rest[0] if rest else None, rest[1:]


def _members(entry: Parked) -> dict[str, Any]:
    from ...control.parked import show_key

    return {
        "table": str(entry.table),
        "key": show_key(entry),
        "reason": entry.reason,
        "since": entry.since,
        "asked": entry.asked,
    }


def _texts(row: dict[str, Any] | None) -> dict[str, str | None] | None:
    if row is None:
        return None
    return {column: None if cell is None else str(cell) for column, cell in row.items()}
