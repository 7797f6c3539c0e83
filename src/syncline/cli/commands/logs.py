"""`syncline logs PIPELINE`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ...errors import Refused
from ..chosen import Config
from ..figures import printable
from ..output import close_pipe


def logs(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline, by its name.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C.")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", min=0, help="So many lines at first.")
    ] = 50,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they are kept: JSON.")] = False,
) -> int:
    """Show what a pipeline said, the last lines first. They are kept in files, about 50 MB at most."""
    from ...control.project import open_project
    from ...observe.logs import read_log, show

    project = open_project(config)
    project.pipelines([name])
    path = project.log_of(name)
    if not path.exists() and not follow:
        raise Refused("read", f"the log of {name}", "it has never run", "start it with syncline run")
    try:
        for line in read_log(path, last=last, follow=follow):
            typer.echo(line.decode() if as_json else printable(show(line)))
            sys.stdout.flush()
    except BrokenPipeError:
        return close_pipe(0)
    except KeyboardInterrupt:
        return 0
    return 0
