"""`syncline cutover FROM TO`: when an application may move to the target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import Refused
from ..chosen import Config, Exclude, Json, Pair, Quiet, Tables
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
    stores: Pair,
    tables: Tables = None,
    exclude: Exclude = None,
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Say when the application may be pointed at TO: once FROM is quiet and both are proven equal.

    Takes the stream over from a `sync --follow` that runs, which ends, or begins one. Applies what still
    comes, names who still writes, compares, lets identity columns and sequences of TO go on after those of
    FROM, and says `switch now`. Stop the application first, or while it waits; pause a pipeline before.
    """
    from ...control.pairs import resolve_alone
    from ...control.service import held_pair
    from ...engine.cutover import Switch

    pair = resolve_alone(stores, "cutover", config)
    options = replace(pair.options, give_up_after=give_up_after)
    if pair.project is not None and (tables or exclude):
        why, remedy = "a pipeline is cut over whole", "leave --tables and --exclude away"
        raise Refused("cut over", f"pipeline {pair.name}", why, remedy)
    if pair.project is None:
        options = replace(options, tables=tuple(tables or ()), exclude=tuple(exclude or ()))
    with held_pair(pair, "cut over"):
        switch = Switch(quiet_for, give_up_after, remove)
        return _cutover(pair.source, pair.target, options, switch, quiet, as_json)


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
