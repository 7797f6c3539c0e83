"""What can go wrong, by what is to be done about it.

    SynclineError
    ├── Transient       retried with backoff; the position stands still
    ├── NeedsOperator   stops; the remedy says what to do; resumable        exit 3
    │   ├── Superseded  another worker has claimed the stream
    │   ├── LogLost     the source's log does not hold what comes after a position
    │   └── Unfit       rows that the target cannot take as they are; parked by the engine
    ├── Refused         bad configuration or input; nothing was touched      exit 2
    ├── Corruption      stops at once; nothing more is written               exit 4
    └── Interrupted     somebody asked to stop; clean and resumable    exit 130, 143

Every message reads `cannot <do what> <to what>: <why>; <what to do>`, that of an interruption `stopped by …`.
It holds one line and never a password.
"""

from __future__ import annotations

import signal
from typing import ClassVar, Self


class SynclineError(Exception):
    """An error with an operation, its subject, a cause and a remedy; survives pickling.

    `operation` and `subject` complete "cannot …", `reason` says why, `remedy` (may be empty) what to do.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, operation: str, subject: str, reason: str, remedy: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.reason = one_line(reason)
        self.remedy = one_line(remedy)
        super().__init__(operation, subject, self.reason, self.remedy)

    @property
    def code(self) -> str:
        """The kind of the error in lower case, for `--json` and logs."""
        return type(self).__name__.lower()

    def __str__(self) -> str:
        what = f"cannot {self.operation} {self.subject}".rstrip()
        return f"{what}: {self.reason}" + (f"; {self.remedy}" if self.remedy else "")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, str, str]]:
        return type(self), (self.operation, self.subject, self.reason, self.remedy)


class Transient(SynclineError):
    """Will pass by itself: a lost connection, a deadlock, a server starting up. Retried with backoff."""


class NeedsOperator(SynclineError):
    """Only a person can go on from here; the position stands still and the run is resumable."""


class Superseded(NeedsOperator):
    """Another worker has claimed the stream: whoever gets this writes nothing more (Promise 2)."""


class LogLost(NeedsOperator):
    """The log does not hold everything after a position: what depends on it is a Gap (Promise 7)."""


class Unfit(NeedsOperator):
    """A value that fits neither its column's type nor its table's constraints; the row is parked."""


class Refused(SynclineError):
    """Bad configuration or input, found before anything was touched."""

    exit_code = 2


class Corruption(SynclineError):
    """What was read cannot be what was written. Nothing more is written after it."""

    exit_code = 4


class Interrupted(SynclineError):
    """A signal asked the run to end. What was committed stays; the next run goes on from there.

    `position` is the one up to which all is committed, where the run was one that follows. Its message is no
    complaint: somebody wanted this."""

    def __init__(self, signal_number: int = 2, position: str = "") -> None:
        self.signal_number, self.position = signal_number, position
        kept = f"all is committed up to position {position}" if position else "what was committed stays"
        super().__init__("finish", "the run", kept, "run the same command again to go on")

    def __str__(self) -> str:
        by = "Ctrl-C" if self.signal_number == signal.SIGINT else signal.Signals(self.signal_number).name
        return f"stopped by {by}: {self.reason}; {self.remedy}"

    @property
    def exit_status(self) -> int:
        """The shell's habit: 128 + the signal's number."""
        return 128 + self.signal_number

    def __reduce__(self) -> tuple[type[Self], tuple[int, str]]:  # type: ignore[override]
        return type(self), (self.signal_number, self.position)


def one_line(text: str) -> str:
    """The text with every run of white space made one blank, as errors and reports show it."""
    return " ".join(text.split())
