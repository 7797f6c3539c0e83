"""`syncline cutover FROM TO`: when an application may move to the target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import Refused
from ..chosen import Config
from ..output import show_report

if TYPE_CHECKING:
    from ...engine.cutover import Switch
    from ...engine.report import Options

EPILOG = (
    "Exit codes: 0 switch now · 1 do not switch: FROM was not quiet in time, or a table is not equal ·"
    " 2 refused, nothing was touched · 3 gave up or needs you; the same command goes on ·"
    " 4 stopped at corrupt data · 130, 143 interrupted, the same command goes on."
)


def cutover(
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="FROM TO | PIPELINE",
            help="The database to leave and the one to move to, written as for sync, or a pipeline of"
            " syncline.toml by its name, which must be paused.",
            show_default=False,
        ),
    ],
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
    config: Config = None,
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
    from ...control.service import asked_of, held_pipeline
    from ...engine.cutover import Switch
    from ...engine.report import Options

    switch = Switch(quiet_for, give_up_after, remove)
    if len(stores) == 1 and ":" not in stores[0]:
        from ...control.project import open_project

        project = open_project(config)
        if tables or exclude:
            why, remedy = "a pipeline is cut over whole", "leave --tables and --exclude away"
            raise Refused("cut over", f"pipeline {stores[0]}", why, remedy)
        source, target, options = asked_of(project, stores[0])
        options = replace(options, give_up_after=give_up_after)
        with held_pipeline(project, stores[0], "cut over"):
            return _cutover(source, target, options, switch, quiet, as_json)
    if len(stores) != 2:
        why = f"cutover takes two databases, FROM and TO, or one pipeline; {len(stores)} stores were named"
        raise Refused("read", "the command line", why, "see syncline cutover --help")
    chosen = tuple(tables or ()), tuple(exclude or ())
    options = Options(*chosen, give_up_after=give_up_after)
    return _cutover(stores[0], stores[1], options, switch, quiet, as_json)


def _cutover(source: str, target: str, options: Options, switch: Switch, quiet: bool, as_json: bool) -> int:
    from ...control.service import cutover as prepare
    from ...control.signals import Stopper
    from ..progress import progress

    with progress(quiet) as shown:
        stopper = Stopper(shown.notice)
        run = prepare(source, target, options, shown, switch)
        stopper.watch(run)
        report = stopper.run(run.run)
    return show_report(report, None, as_json)
