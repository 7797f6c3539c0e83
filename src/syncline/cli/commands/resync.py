"""`syncline resync`: tables copied anew while everything else goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from ..chosen import PAIR, Config, Json
from ..figures import printable
from ..output import write_json

EPILOG = "Exit codes: 0 asked for · 2 refused, nothing was touched · 3 a store is away, or needs you."


def resync(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar=f"{PAIR} [TABLE]…",
            help="A pipeline by its name, or two databases as for sync; then tables by name or glob. Without"
            " any, all of the stream.",
            show_default=False,
        ),
    ],
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Copy tables anew, beside what TO holds of them, and swap them in; the rest goes on meanwhile.

    Mends a table that failed or is a gap. The worker that runs does it within seconds, or else the next run.
    Until the new rows are complete the old ones stay.
    """
    from ...control.pairs import resolve
    from ...control.service import resync as ask

    pair, tables = resolve(words, "resync", config)
    asked, running = ask(pair, tables)
    if as_json:
        names = [str(table) for table in asked]
        return write_json({"exit": 0, "error": None, "tables": names, "running": running}, 0)
    by = "the worker that runs" if running else "the sync that runs, or the next run"
    for table in asked:
        typer.echo(printable(f"{table} is to be copied anew by {by}"))
    return 0
