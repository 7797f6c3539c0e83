"""`syncline cutover FROM TO`: when an application may move to the target."""

from __future__ import annotations

from typing import Annotated

import typer

from ..output import show_report

EPILOG = (
    "Exit codes: 0 switch now · 1 do not switch: FROM was not quiet in time, or a table is not equal ·"
    " 2 refused, nothing was touched · 3 gave up or needs you; the same command goes on ·"
    " 4 stopped at corrupt data · 130, 143 interrupted, the same command goes on."
)


def cutover(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The database to leave, written as for sync.")
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help="The database to move to.")],
    tables: Annotated[
        list[str] | None,
        typer.Option("--tables", metavar="GLOB", help="Only these tables, as for sync; may be given again."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Not these tables; may be given again."),
    ] = None,
    quiet_for: Annotated[
        float,
        typer.Option(
            "--quiet-for", metavar="SECONDS", min=0.1, help="So long nothing may have changed at FROM."
        ),
    ] = 5.0,
    give_up_after: Annotated[
        float,
        typer.Option(
            "--give-up-after",
            metavar="SECONDS",
            min=0,
            help="Wait so long until FROM is quiet, then end with code 1 and change nothing; also for a store"
            " that is away.",
        ),
    ] = 300.0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the stream away from both ends when all is well.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the report, or the error, as one JSON document to stdout.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only the report and errors.")
    ] = False,
) -> int:
    """Say when the application may be pointed at TO: once FROM is quiet and both are proven equal.

    Takes the stream over from a `sync --follow` that runs, which ends, or begins one. Applies what still
    comes, names who still writes, compares, lets identity columns and sequences of TO go on after those of
    FROM, and says `switch now`. Stop the application first, or while it waits.
    """
    from ...control.service import cutover as prepare
    from ...control.signals import Stopper
    from ...engine.cutover import Switch
    from ...engine.report import Options
    from ..progress import progress

    options = Options(tables=tuple(tables or ()), exclude=tuple(exclude or ()), give_up_after=give_up_after)
    with progress(quiet) as shown:
        stopper = Stopper(shown.notice)
        run = prepare(source, target, options, shown, Switch(quiet_for, give_up_after, remove))
        stopper.watch(run)
        report = stopper.run(run.run)
    return show_report(report, None, as_json)
