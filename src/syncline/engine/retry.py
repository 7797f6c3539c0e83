"""Patience with trouble that passes by itself."""

from __future__ import annotations

import random
import time

from ..errors import NeedsOperator, SynclineError

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0


class Patience:
    """Says how long to wait before the next try, and when to give up.

    Pauses double from a tenth of a second to ten seconds, with jitter. `progress()` starts anew. After
    `give_up_after` seconds without progress NeedsOperator is raised; None never gives up.
    """

    def __init__(self, give_up_after: float | None) -> None:
        self._give_up_after = give_up_after
        self._since: float | None = None
        self._tries = 0

    def progress(self) -> None:
        """Something was committed."""
        self._since, self._tries = None, 0

    def pause(self, error: SynclineError) -> float:
        """Seconds to wait after this error."""
        now = time.monotonic()
        self._since = self._since or now
        waited = now - self._since
        if self._give_up_after is not None and waited >= self._give_up_after:
            raise NeedsOperator(
                error.operation,
                error.subject,
                f"{error.reason} (tried for {waited:.0f} s)",
                error.remedy or "run the same command again to go on",
            ) from error
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**self._tries)
        self._tries += 1
        if self._give_up_after is not None:
            pause = min(pause, self._give_up_after - waited)
        return pause * random.uniform(0.5, 1.0)
