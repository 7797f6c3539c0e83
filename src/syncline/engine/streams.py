"""The streams of a run: opened under their fences, and taken away."""

from __future__ import annotations

from collections.abc import Callable

from .. import failpoints
from ..connector import Claim, Source, Target
from .report import Observer, Options
from .stores import Stores
from .stream import Stream
from .throttle import Throttle


class Streams:
    """Opens streams with what all streams of a run share, and remembers the fences that it took.

    `progress` is called by every stream whenever something was committed.
    """

    def __init__(
        self, stores: Stores, options: Options, observer: Observer, progress: Callable[[], None]
    ) -> None:
        self.stores, self.options, self.observer, self._progress = stores, options, observer, progress
        self._throttle = Throttle(options.rate_limit)
        self._fences: dict[str, int] = {}

    def claim(self, target: Target, name: str) -> Claim:
        """Take the fence; after an error only if nobody else took it meanwhile (Promise 2)."""
        claim = target.claim(name, self._fences.get(name))
        self._fences[name] = claim.fence
        return claim

    def open(self, claim: Claim, lookup: Source, target: Target, observer: Observer | None = None) -> Stream:
        """The stream of a claim, over these two stores."""
        return Stream(
            self.stores,
            lookup,
            target,
            claim,
            self.options,
            observer or self.observer,
            self._progress,
            self._throttle,
        )

    def close(self, stream: Stream) -> None:
        """Let go of a stream that has joined another: of its log, and of the stores that it had."""
        stream.lookup.detach(stream.claim.stream)
        self._fences.pop(stream.claim.stream, None)
        self.stores.release(stream.lookup)
        self.stores.release(stream.target)

    def take_away(self, stream: str, source: Source, target: Target) -> None:
        """Leave nothing of a stream at either end."""
        source.detach(stream)
        target.forget(stream)
        self._fences.pop(stream, None)

    def remove(self, stream: Stream) -> None:
        """Leave nothing of a stream at its end; a removal that is killed is finished by the next run."""
        stream.target.mark_removing(stream.claim)
        failpoints.hit("remove.before_detach")
        stream.lookup.detach(stream.claim.stream)
        failpoints.hit("remove.after_detach")
        stream.target.forget(stream.claim.stream)
