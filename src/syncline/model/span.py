"""Parts of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Bound = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """The rows with `lower <= key < upper`, in the source's own order of keys; None is open.

    A bound holds a key's cells in the source connector's text form; only that connector reads it.
    """

    lower: Bound | None = None
    upper: Bound | None = None

    def to_json(self) -> list[Any]:
        """The persisted form."""
        return [bound if bound is None else list(bound) for bound in (self.lower, self.upper)]

    @classmethod
    def from_json(cls, bounds: list[Any]) -> Span:
        """The span that `to_json` wrote."""
        return cls(*(bound if bound is None else tuple(bound) for bound in bounds))
