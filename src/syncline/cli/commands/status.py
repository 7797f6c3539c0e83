"""`syncline status`: how pipelines stand."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ..chosen import Config, Json, Names
from ..output import write_json

WATCH_SECONDS = 1.0


def status(
    names: Names = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it in place, until Ctrl-C.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Show each pipeline and its tables: state, position, how far behind, how fast, the last error.

    A table is live only once everything up to its goal was applied, and only while its worker runs; figures
    say how old they are. Exit code 0 whatever the state is: it was shown.
    """
    from ...control.project import open_project
    from ...control.service import status as read

    project = open_project(config)
    if as_json:
        now = time.time()
        found = [one.to_json(now) for one in read(project, names or ())]
        return write_json({"exit": 0, "error": None, "pipelines": found}, 0)

    from rich.console import Console

    from ..board import board, watching

    console = Console()
    if not watch:
        if not console.is_terminal:
            console.width = 4096
        console.print(board(read(project, names or ()), time.time()))
        return 0
    watching(console, lambda: read(project, names or ()), WATCH_SECONDS)
    return 0
