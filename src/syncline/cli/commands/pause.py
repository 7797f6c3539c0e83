"""`syncline pause`."""

from __future__ import annotations

import typer

from ..chosen import Config, Names
from ..figures import printable


def pause(names: Names = None, config: Config = None) -> int:
    """Let pipelines stand still until they are resumed: their workers end within seconds.

    Holds over restarts. A paused PostgreSQL source keeps its log for the pipeline: resume it, or remove it.
    """
    from ...control.project import open_project
    from ...control.service import pause as ask

    for name in ask(open_project(config), names or ()):
        typer.echo(printable(f"{name} is to stand still"))
    return 0
