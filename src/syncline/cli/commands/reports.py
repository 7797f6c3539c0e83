"""`syncline reports`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from ..chosen import Config, Json, Names
from ..figures import counted, duration, printable
from ..output import write_json


def reports(
    names: Names = None,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=1, help="So many.")] = 20,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Show the reports of runs that ended: scheduled ones, and those with --once. The newest stand last."""
    from ...control.project import open_project
    from ...control.service import reports as read

    rows = read(open_project(config), names or (), last)
    if as_json:
        documents = [
            {"pipeline": row.pipeline, "ended": row.ended, "exit": row.exit_code, "report": row.document}
            for row in rows
        ]
        return write_json({"exit": 0, "error": None, "reports": documents}, 0)
    for row in reversed(rows):
        ended = datetime.fromtimestamp(row.ended).astimezone()
        verdicts = [table["verdict"].replace("_", " ") for table in row.document["tables"]]
        told = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts)) or "no table"
        typer.echo(
            printable(
                f"{ended:%Y-%m-%d %H:%M:%S}  {row.pipeline}  {told} · "
                f"{counted(row.document['rows_copied'], 'row')} copied · "
                f"{counted(row.document['changes_applied'], 'change')} applied · "
                f"{duration(row.document['seconds'])}"
            )
        )
    if not rows:
        typer.echo("no run has ended yet")
    return 0
