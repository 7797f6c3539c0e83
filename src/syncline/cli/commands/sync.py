"""`syncline sync`: one database made equal to another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace as changed
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import Interrupted, Refused
from ..chosen import Config, Exclude, Json, Pair, Quiet, Store, Tables, Transforms, Where, read_rules
from ..output import show_report

if TYPE_CHECKING:
    from ...control.pairs import Pair as Pairs
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
    stores: Pair,
    tables: Tables = None,
    exclude: Exclude = None,
    store: Store = None,
    where: Where = None,
    transforms: Transforms = None,
    schema: Annotated[
        SchemaPolicy | None,
        typer.Option(
            help="What becomes of a table whose columns change at FROM: 'evolve', without this option too,"
            " changes it at TO as well, or copies it anew beside; 'freeze' stops it by name."
        ),
    ] = None,
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
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Make the tables of TO equal to those of FROM, while both are in use.

    Copies every table, catches up with what was written meanwhile, compares both sides, and takes away what
    it made for that. A run that was stopped or killed goes on when the same command is given again. A
    pipeline keeps what was made, as with syncline run --once; it runs here, with what its section says.
    """
    from ...control.pairs import resolve_alone

    pair = resolve_alone(stores, "sync", config)
    asked: dict[str, Any] = {
        "tables": tuple(tables or ()),
        "exclude": tuple(exclude or ()),
        "rules": read_rules(store, where, transforms),
        "schema": schema.value if schema else "",
        "rate_limit": _rate(rate_limit) if rate_limit is not None else None,
        "replace": replace,
        "remove": remove,
    }
    given = {name: value for name, value in asked.items() if value}
    if pair.project is not None:
        _refuse_of_pipeline(given, pair.name)
    options = changed(pair.options, follow=follow, dry_run=dry_run, give_up_after=give_up_after, **given)
    _refuse_contradictions(options)
    return _sync(changed(pair, options=options), quiet, as_json)


def _refuse_of_pipeline(given: Collection[str], name: str) -> None:
    """A pipeline is what its section says, whoever runs it."""
    instead = {"replace": f"use syncline resync {name}", "remove": f"use syncline remove {name}"}
    for option in given:
        shown = {"rules": "--store, --where or --transforms"}.get(option, f"--{option.replace('_', '-')}")
        why = f"{shown} is not for a pipeline: its section in syncline.toml says what it does"
        raise Refused("read", "the command line", why, instead.get(option, "say it there"))


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


def _sync(pair: Pairs, quiet: bool, as_json: bool) -> int:
    from ...control.service import sync_pair
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
            report = stopper.run(lambda: sync_pair(pair, shown, started=started))
        except Interrupted as end:
            if not pair.options.follow or not shown.following or not pipelines:
                raise
            # How a follow that got there is meant to end.
            error, report = Interrupted(end.signal_number, shown.position or ""), pipelines[0].report
    return show_report(report, error, as_json)
