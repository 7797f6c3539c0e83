"""Errors as a user sees them: one line on stderr, an object in `--json`, an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from typer import Abort, TyperException

from ..control.project import Misconfigured
from ..control.stores import redact
from ..errors import Interrupted, NeedsOperator, Refused, SynclineError
from .figures import printable

DEBUG = "SYNCLINE_DEBUG"
"""Set to anything but '' or 0, this environment variable adds the traceback to an error that is a bug."""


class Bug(SynclineError):
    """An exception that nobody expected: a mistake of Syncline's own. The run is resumable all the same."""


def explain(error: BaseException, command: str) -> SynclineError:
    """Any exception as one of Syncline's own; `command` is what the user ran, such as `syncline sync`."""
    if isinstance(error, SynclineError):
        return error
    if isinstance(error, KeyboardInterrupt | Abort):
        return Interrupted()
    if isinstance(error, TyperException):
        reason = redact(error.format_message()).rstrip(".")
        return Refused("read", "the command line", reason, f"see {command} --help")
    text = redact(str(error))
    if isinstance(error, OSError):  # stdout on a full disk, no more descriptors, …
        return NeedsOperator("finish", f"the command {command}", text)
    what = type(error).__name__ + (f": {text}" if text else "")
    report = f"run it again with {DEBUG}=1 and report what it prints"
    return Bug("finish", f"the command {command}", f"this is a bug in Syncline ({what})", report)


def exit_status(error: SynclineError) -> int:
    """The exit code of an error."""
    return error.exit_status if isinstance(error, Interrupted) else error.exit_code


def line(error: SynclineError) -> str:
    """The one line that stands for an error on stderr."""
    return f"syncline: {printable(redact(str(error)))}"


def members(error: SynclineError) -> dict[str, Any]:
    """The document that stands for an error in `--json`; `exit` is the process's exit code."""
    return {
        "exit": exit_status(error),
        "error": {
            "code": error.code,
            "operation": error.operation,
            "subject": redact(error.subject),
            "reason": redact(error.reason),
            "remedy": error.remedy,
            "message": redact(str(error)),
            **_problems(error),
        },
    }


def _problems(error: SynclineError) -> dict[str, list[str]]:
    """Everything that is wrong with a configuration, where the line on stderr has the first only."""
    if not isinstance(error, Misconfigured):
        return {}
    return {"problems": [redact(problem) for problem in error.problems]}


def show_traceback(error: BaseException) -> None:
    """Write the traceback of a bug to stderr, where the user asked for it."""
    if not isinstance(error, SynclineError) and os.environ.get(DEBUG, "0") not in ("", "0"):
        for part in traceback.format_exception(error):
            sys.stderr.write(redact(part))
