"""Any exception as an error of ours, as a document and as an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from ..errors import Corruption, Interrupted, NeedsOperator, Refused, Superseded, SynclineError
from .project import Misconfigured
from .stores import redact

DEBUG = "SYNCLINE_DEBUG"
"""Set to anything but '' or 0, this environment variable adds the traceback to an error that is a bug."""


class Bug(SynclineError):
    """An exception that nobody expected: a mistake of Syncline's own. The run is resumable all the same."""


def explain(error: BaseException, what: str) -> SynclineError:
    """Any exception as one of Syncline's own; `what` is what could not be finished."""
    if isinstance(error, SynclineError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted()
    text = redact(str(error))
    if isinstance(error, OSError):  # stdout on a full disk, no more descriptors, …
        return NeedsOperator("finish", what, text)
    if isinstance(error, MemoryError) or text == "can't start new thread":
        return NeedsOperator("finish", what, "there is no memory left", "give it more, and run it again")
    kind = type(error).__name__ + (f": {text}" if text else "")
    report = f"run it again with {DEBUG}=1 and report what it prints"
    return Bug("finish", what, f"this is a bug in Syncline ({kind})", report)


def show_traceback(error: BaseException) -> None:
    """Write the traceback of a bug to stderr, where the user asked for it."""
    if not isinstance(error, SynclineError) and os.environ.get(DEBUG, "0") not in ("", "0"):
        for part in traceback.format_exception(error):
            sys.stderr.write(redact(part))


def error_members(error: SynclineError) -> dict[str, Any]:
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


def exit_status(error: SynclineError) -> int:
    """The exit code of an error."""
    return error.exit_status if isinstance(error, Interrupted) else error.exit_code


def from_members(members: Mapping[str, Any]) -> SynclineError:
    """The error that `error_members` wrote in another process."""
    error = members["error"]
    kinds = {kind.__name__.lower(): kind for kind in (Refused, Corruption, Superseded, Bug)}
    kind = kinds.get(error["code"], NeedsOperator)
    return kind(error["operation"], error["subject"], error["reason"], error["remedy"])
