"""Named places where a test may make the process die, fail or wait.

`SYNCLINE_FAILPOINTS=name=action[@hit][,…]` arms them; unarmed, a failpoint costs one dictionary look-up.
Actions: `kill` (SIGKILL to this process), `fail` (a Transient error), `sleep:SECONDS`. `@3` acts on the
third hit only; without it the first hit acts and the place is quiet from then on.
"""

from __future__ import annotations

import os
import signal
import time

from .errors import Refused, Transient

VARIABLE = "SYNCLINE_FAILPOINTS"

# Every name that `hit` is called with, and where it stands. The crash test visits each of them once.
NAMES: dict[str, str] = {
    "attach.publication": "the publication or trigger exists, the slot does not",
    "attach.done": "the source is attached, the target holds no position",
    "copy.planned": "the spans are in the ledger, no row is copied",
    "copy.before_commit": "a span's rows are written, their transaction is open",
    "copy.after_commit": "a span is copied and recorded",
    "goal.recorded": "every span is copied, the goal is recorded",
    "apply.before_commit": "a batch is written, its transaction is open",
    "apply.after_commit": "a batch is committed, the log is not released",
    "release.after": "the log is released up to the committed position",
    "live.before_commit": "indexes are built, the table is not live yet",
    "live.after_commit": "a table is live, its last foreign keys are not made",
    "alter.before_commit": "a table at the target has its new shape, the transaction is open",
    "join.before_commit": "a side stream stands at the barrier, it has not joined",
    "join.after_commit": "a side stream has joined, its slot still exists",
    "remove.before_detach": "the target says the stream is being removed",
    "remove.after_detach": "the source is clean, the target still holds the stream's rows",
}


class _Armed:
    def __init__(self, action: str, at: int) -> None:
        self.action, self.at, self.hits = action, at, 0


def _parse(text: str) -> dict[str, _Armed]:
    armed = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, action = item.partition("=")
        action, _, at = action.partition("@")
        if name not in NAMES or action.partition(":")[0] not in ("kill", "fail", "sleep"):
            raise Refused("arm", f"failpoint {item}", "no such name or action", f"names: {', '.join(NAMES)}")
        armed[name] = _Armed(action, int(at or 1))
    return armed


_armed = _parse(os.environ.get(VARIABLE, ""))


def arm(text: str) -> None:
    """Replace what is armed in this process by `text`, in the form of the variable; '' disarms all."""
    global _armed
    _armed = _parse(text)


def hits(name: str) -> int:
    """How often an armed failpoint was passed; 0 for one that is not armed."""
    return _armed[name].hits if name in _armed else 0


def hit(name: str) -> None:
    """Do what is armed at this place, if anything."""
    point = _armed.get(name)
    if point is None:
        return
    point.hits += 1
    if point.hits != point.at:
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "fail":
        raise Transient("pass", f"failpoint {name}", "it is armed to fail")
    else:
        time.sleep(float(point.action.partition(":")[2]))
