"""Looking whether a stream's fence is still its own."""

from __future__ import annotations

import time

from ..connector import Claim, Target
from ..errors import Superseded

FENCE_SECONDS = 5.0


class Fence:
    """A stream with nothing to write would never learn that another worker has claimed it, and call itself
    live beside that one (Promise 2)."""

    def __init__(self, target: Target) -> None:
        self._target, self._asked = target, 0.0

    def look(self, claim: Claim, written: float) -> None:
        """Superseded when another worker holds the stream. `written` is when the last transaction proved that
        none did; the target is not asked more often than that needs."""
        now = time.monotonic()
        if now - max(written, self._asked) < FENCE_SECONDS:
            return
        self._asked = now
        there = self._target.peek(claim.stream)
        if there is None or there.fence != claim.fence:
            held = "the stream is gone" if there is None else f"another worker holds fence {there.fence}"
            raise Superseded(
                *("follow", claim.stream, f"{held}, this one had {claim.fence}"),
                "leave it to the other worker",
            )
