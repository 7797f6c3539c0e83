"""Errors as a user sees them: one line on stderr."""

from __future__ import annotations

from typer import Abort, TyperException

from ..control import failures
from ..control.stores import redact
from ..errors import Interrupted, Refused, SynclineError
from .figures import printable


def explain(error: BaseException, command: str) -> SynclineError:
    """Any exception as one of Syncline's own; `command` is what the user ran, such as `syncline sync`."""
    if isinstance(error, Abort):
        return Interrupted()
    if isinstance(error, TyperException):
        reason = redact(error.format_message()).rstrip(".")
        return Refused("read", "the command line", reason, f"see {command} --help")
    return failures.explain(error, f"the command {command}")


def line(error: SynclineError) -> str:
    """The one line that stands for an error on stderr."""
    return f"syncline: {printable(redact(str(error)))}"
