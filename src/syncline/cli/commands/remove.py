"""`syncline remove PIPELINE`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..chosen import Config, Json
from ..figures import printable
from ..output import write_json


def remove(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline, by its name.")],
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Take away all that a pipeline made at both ends, its status, its reports and its log.

    Rows stay, and so does the configuration. A later run copies anew what is not equal.
    """
    from ...control.project import open_project
    from ...control.service import remove as take_away

    notes = take_away(open_project(config), name)
    if as_json:
        return write_json({"exit": 0, "error": None, "pipeline": name, "notes": list(notes)}, 0)
    for note in notes:
        typer.echo(printable(f"{name}: {note}"))
    return 0
