"""`syncline sync FROM TO`: one database made equal to another."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import Interrupted, Refused
from ..output import show_report

if TYPE_CHECKING:
    from ...engine.pipeline import Pipeline
    from ...engine.report import Options
    from ...engine.throttle import RateLimit


class SchemaPolicy(StrEnum):
    """The values of --schema."""

    EVOLVE = "evolve"
    FREEZE = "freeze"


EPILOG = (
    "Exit codes: 0 done, and equal · 1 done, but a table named in the report differs, was skipped or not"
    " compared · 2 refused, nothing was touched · 3 gave up or needs you; the same command goes on ·"
    " 4 stopped at corrupt data · 130, 143 interrupted, the same command goes on."
)


def sync(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="The database to read: a URL such as postgresql://me@host/shop or sqlite:///shop.db, or"
            " env:NAME or file:PATH that holds the URL, so that its password shows nowhere.",
        ),
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="The database to make equal to it; written the same way.")
    ],
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--tables",
            metavar="GLOB",
            help="Only tables whose name matches, such as orders or 'sales.*'; may be given again. A name"
            " without * or ? must be there and must be possible to sync.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Not these tables; may be given again."),
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            metavar="TABLE.COLUMN=FORM",
            help="Keep a column at TO in another form, such as orders.total=text or 'sales.*.total=text'; may"
            " be given again. Exact, or the row is set aside: docs/transforms.md lists the forms.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="TABLE=CONDITION",
            help="Only rows for which an SQL condition is true, such as \"orders=status <> 'draft'\"; may be"
            " given again. A row that no longer passes is deleted at TO.",
        ),
    ] = None,
    transforms: Annotated[
        list[str] | None,
        typer.Option(
            "--transforms",
            metavar="MODULE",
            help="Use the functions that a Python module registers by @transform; may be given again.",
        ),
    ] = None,
    schema: Annotated[
        SchemaPolicy,
        typer.Option(
            help="What becomes of a table whose columns change at FROM: 'evolve' changes it at TO as well, or"
            " copies it anew beside; 'freeze' stops it by name."
        ),
    ] = SchemaPolicy.EVOLVE,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on for ever, each change as it comes, until Ctrl-C or SIGTERM."),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="DANGEROUS: give up the rows that TO holds in these tables. Each new table is built aside,"
            " then swapped in; until then the old one stays as it is. Without this a table that holds"
            " other rows is refused.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; touch nothing.")
    ] = False,
    remove: Annotated[
        bool,
        typer.Option(
            "--remove",
            help="Take away what earlier runs between these two made: slot, publication, triggers and"
            " bookkeeping. Your rows stay; a later run starts over.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the report, or the error, as one JSON document to stdout.")
    ] = False,
    give_up_after: Annotated[
        float,
        typer.Option(
            "--give-up-after",
            metavar="SECONDS",
            min=0,
            help="Wait so long for a store that is away, then end with code 3; --follow waits for ever.",
        ),
    ] = 300.0,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="RATE",
            help="Read FROM no faster while tables are copied and caught up: '20000 rows/s' or '5 MiB/s'.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only the report and errors.")
    ] = False,
) -> int:
    """Make the tables of TO equal to those of FROM, while both are in use.

    Copies every table, catches up with what was written meanwhile, compares both sides, and takes away what
    it made for that. A run that was stopped or killed goes on when the same command is given again.
    """
    from ...engine.report import Options

    rules = None
    if store or where or transforms:
        from ...control.rules import command_line_rules

        rules = command_line_rules(store or (), where or (), transforms or ())
    options = Options(
        tables=tuple(tables or ()),
        exclude=tuple(exclude or ()),
        follow=follow,
        replace=replace,
        dry_run=dry_run,
        remove=remove,
        give_up_after=give_up_after,
        rate_limit=_rate(rate_limit) if rate_limit is not None else None,
        rules=rules or {},
        schema=schema.value,
    )
    _refuse_contradictions(options)
    return _sync(source, target, options, quiet, as_json)


def _rate(text: str) -> RateLimit:
    from ...control.units import parse_rate

    try:
        return parse_rate(text)
    except ValueError as error:
        reason, _, remedy = str(error).partition("; ")
        raise Refused("read", "--rate-limit", reason, remedy) from None


def _refuse_contradictions(options: Options) -> None:
    clash = ""
    if options.remove:
        chosen = {
            "--tables": options.tables,
            "--exclude": options.exclude,
            "--follow": options.follow,
            "--replace": options.replace,
            "--dry-run": options.dry_run,
            "what becomes of tables": options.rules,
        }
        clash = next((name for name, given in chosen.items() if given), "")
    if clash:
        reason = f"--remove takes away all of the stream, and {clash} asks for something else"
        raise Refused("read", "the command line", reason, f"leave {clash} away")


def _sync(source: str, target: str, options: Options, quiet: bool, as_json: bool) -> int:
    from ...control.service import sync as run
    from ...control.signals import Stopper
    from ..progress import progress

    error: Interrupted | None = None
    pipelines: list[Pipeline] = []
    with progress(quiet) as shown:
        stopper = Stopper(shown.notice)

        def started(pipeline: Pipeline) -> None:
            pipelines.append(pipeline)
            stopper.watch(pipeline)

        try:
            report = stopper.run(lambda: run(source, target, options, shown, started=started))
        except Interrupted as end:
            if not options.follow or not shown.following or not pipelines:
                raise
            # How a follow that got there is meant to end.
            error, report = Interrupted(end.signal_number, shown.position or ""), pipelines[0].report
    return show_report(report, error, as_json)
