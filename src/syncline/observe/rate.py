"""How much a second."""

from __future__ import annotations

from collections import deque


class Rate:
    """How much a second, over the last few seconds."""

    window_seconds = 8.0

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._since: float | None = None

    def add(self, now: float, amount: int) -> None:
        """So much more at this moment."""
        if self._since is None:
            self._since = now
        self._samples.append((now, amount))
        self._sum += amount

    def start(self, now: float) -> None:
        """The work began at this moment, before anything could be counted."""
        self._since = now

    def value(self, now: float) -> float:
        """The amount a second at this moment; 0 before the first second has passed."""
        while self._samples and self._samples[0][0] <= now - self.window_seconds:
            self._sum -= self._samples.popleft()[1]
        seconds = min(self.window_seconds, now - (now if self._since is None else self._since))
        return self._sum / seconds if seconds >= 0.5 else 0.0
