"""`syncline run`: the pipelines of syncline.toml."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ...errors import Interrupted
from ..chosen import Config, Json, Names
from ..output import write_json

EPILOG = (
    "Ctrl-C or SIGTERM ends all pipelines cleanly, a second one at once; the next run goes on. Exit codes are"
    " those of sync; with --once the worst of the pipelines."
)


def run(
    names: Names = None,
    once: Annotated[
        bool, typer.Option("--once", help="Bring each pipeline up to its source, compare, and end.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("--log-format", help="Lines on stderr as text, or as JSON objects; else as [log] says."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors; syncline logs has the lines.")
    ] = False,
) -> int:
    """Keep the pipelines of syncline.toml in sync, each in a process of its own.

    Follows the source, or runs by the pipeline's schedule. A process that dies is started again. Look at them
    with syncline status.
    """
    from ...control.failures import error_members
    from ...control.project import open_project
    from ...control.signals import Stopper
    from ...control.supervisor import Supervisor, worst
    from ..failures import line
    from ..figures import printable

    def say(text: str) -> None:
        typer.echo(printable(text), err=True)

    project = open_project(config)
    form = log_format or project.configuration.log.format
    supervisor = Supervisor(project, names or (), once=once, echo=None if quiet else form)
    stopper = Stopper(say, at_once=supervisor.kill)
    stopper.watch(supervisor)
    try:
        words = stopper.run(supervisor.run)
    except Interrupted as end:  # how it is meant to end
        say(line(end))
        document = error_members(end) | {"pipelines": supervisor.words}
        return write_json(document, end.exit_status) if as_json else end.exit_status
    status = worst(words)
    if as_json:
        return write_json({"exit": status, "error": None, "pipelines": words}, status)
    for name, word in words.items():
        if word["error"]:
            say(f"syncline: {name}: {word['error']['message']}")
    return status
