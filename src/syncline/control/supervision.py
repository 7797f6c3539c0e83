"""What is to be done about one pipeline: start its worker, stop it, wait, leave it to the operator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..observe.figures import Trouble
from .child import Child
from .stored import Phase, Wish

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""After a worker died: doubled each time."""
FIRST_CALM_SECONDS, LONGEST_CALM_SECONDS = 10.0, 300.0
"""After an error that only a person can mend: doubled each time."""
GOOD_SECONDS = 60.0
"""A worker that ran for so long begins with the first pause again."""
FINAL = ("superseded", "corruption")
"""Errors after which a worker is not started again by itself: it would fight with another one, or go on
over data that is not what was written."""


class Supervision:
    """One pipeline under supervision; only the supervisor's thread calls its methods, `ask` excepted.

    `mode` is `follow`, `once` or `scheduled`; `start` starts a worker for it. Times are seconds since 1970.
    """

    def __init__(self, name: str, mode: str, start: Callable[[str], Child], now: float) -> None:
        self.name, self.mode, self._start = name, mode, start
        self.child: Child | None = None
        self.phase = self._waiting()
        self.since = now
        self.retry_at: float | None = None
        self.word: dict[str, Any] | None = None
        """What the last worker said at its end."""
        self._tries = 0
        self._asked = False
        self._terminated = False
        self._idle = threading.Event()
        self._idle.set()

    @property
    def trouble(self) -> Trouble | None:
        """The error that the last worker ended with, unless it was asked to end."""
        error = self.word and self.word["error"]
        if not error or error["code"] == "interrupted":
            return None
        return Trouble(error["code"], error["message"], error["remedy"], self.since)

    @property
    def tries(self) -> int:
        """How many workers ended one after the other without living for long."""
        return self._tries

    def begin_anew(self, mode: str, now: float) -> None:
        """Go on in this mode with what is configured by now; a scheduled run that is under way ends as it
        began, unless the mode is another one."""
        anew, self.mode = mode == "follow" or mode != self.mode, mode
        if self.child is not None:
            if anew:
                self._terminate()
            return
        self.retry_at = None
        if self.phase in (Phase.WAITING, Phase.SCHEDULED):
            self._idle.set()
            self._enter(self._waiting(), now)

    def ask(self, wake: Callable[[], None]) -> None:
        """Let a scheduled pipeline run; returns when that run is over, so that the next one waits for it."""
        self._idle.clear()
        self._asked = True
        wake()
        self._idle.wait()

    def look(self, now: float, wish: Wish) -> bool:
        """Do what is due at this moment; whether a worker was started."""
        if wish.paused:
            self._rest()
            if self.child is None:
                self._enter(Phase.PAUSED, now)
            return False
        if self.child is not None:
            return False
        if self.phase is Phase.PAUSED:
            self._enter(self._waiting(), now)
        if wish.since > self.since and self.phase in (Phase.WAITING, Phase.HALTED):
            self._tries, self.retry_at = 0, None
            self._enter(Phase.WAITING, now)
        due = self.phase is Phase.WAITING and (self.retry_at is None or now >= self.retry_at)
        if not due and not (self.mode == "scheduled" and self._asked):
            return False
        self._asked, self._terminated, self.retry_at = False, False, None
        self.child = self._start(self.mode)
        self._enter(Phase.RUNNING, now)
        return True

    def ended(self, now: float) -> None:
        """The worker has said all: decide when it is started again. Whoever started it dismisses it."""
        assert self.child is not None
        self.word, self.child = self.child.word(), None
        lasted, asked = now - self.since, self._terminated
        self._enter(Phase.ENDED, now)
        code = (self.word["error"] or {}).get("code", "")
        if self.mode == "once":
            pass
        elif code in FINAL:
            self._enter(Phase.HALTED, now)
        elif self.mode == "scheduled":
            self._enter(Phase.SCHEDULED, now)
        else:
            self._enter(Phase.WAITING, now)
            self._tries = 0 if lasted >= GOOD_SECONDS else self._tries
            self.retry_at = now + (0.0 if asked else self._pause(code))
        self._idle.set()

    def _pause(self, code: str) -> float:
        first, longest = FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
        if code not in ("died", "bug"):
            first, longest = FIRST_CALM_SECONDS, LONGEST_CALM_SECONDS
        self._tries += 1
        return float(min(longest, first * 2 ** (self._tries - 1)))

    def _rest(self) -> None:
        """Let a worker end, and a schedule wait for its next time."""
        if self.child is None:
            self._asked = False
            self._idle.set()
        else:
            self._terminate()

    def _terminate(self) -> None:
        """Ask the worker to end, once: a second time would end it at once."""
        if self.child is not None and not self._terminated:
            self._terminated = True
            self.child.terminate()

    def _waiting(self) -> Phase:
        """How it waits for its next worker."""
        return Phase.SCHEDULED if self.mode == "scheduled" else Phase.WAITING

    def stop(self, now: float) -> None:
        """Let it end for good."""
        self._rest()
        if self.child is None and self.phase is not Phase.ENDED:
            self._enter(Phase.STOPPED, now)

    def _enter(self, phase: Phase, now: float) -> None:
        if phase is not self.phase:
            self.phase, self.since = phase, now
