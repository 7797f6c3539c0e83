"""`syncline resume`."""

from __future__ import annotations

import typer

from ..chosen import Config, Names
from ..figures import printable


def resume(names: Names = None, config: Config = None) -> int:
    """Let pipelines run that were paused, or that wait or stopped after an error."""
    from ...control.project import open_project
    from ...control.service import resume as ask

    for name in ask(open_project(config), names or ()):
        typer.echo(printable(f"{name} is to run"))
    return 0
