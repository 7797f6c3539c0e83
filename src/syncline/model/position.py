"""Where a stream stands, and in whose log."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, NewType

Position = NewType("Position", str)
"""A place in a source's log: short printable text that only that source's connector reads."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which store this is, whatever its address.

    `system` names the connector, `instance` the installation (PostgreSQL's system identifier, a file's
    real path), `database` the database in it. `incarnation` is what a restore, a failover or a file put
    in another's place changes (timeline, log uuid; '' before there is one): a saved incarnation that
    differs means a Gap (Promise 7).
    """

    system: str
    instance: str
    database: str
    incarnation: str = ""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name the store in streams and marks; not of the incarnation."""
        text = "\0".join((self.system, self.instance, self.database))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The persisted form."""
        return {
            "system": self.system,
            "instance": self.instance,
            "database": self.database,
            "incarnation": self.incarnation,
        }

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Identity:
        """The identity that `to_json` wrote."""
        return cls(**members)


def stream_name(source: Identity, target: Identity, pipeline: str = "") -> str:
    """The stable name of the stream of a pipeline between two stores, valid as a slot's and a publication's
    name. A pipeline without a name has the pair's own stream."""
    text = " ".join(filter(None, (source.id, target.id, pipeline)))
    return f"syncline_{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a position is behind its source's log, and how much log the source keeps for the stream;
    both in `unit`: bytes, or rows where the log is a table. `seconds` ago the position was known to be at
    the log's end; None before it ever was. `at` is the position, or where the log was read up to when there
    was nothing to apply. `end_to_end` seconds a message takes, or has taken by now, from the source's log to
    the target's position; None where none is sent."""

    amount: int
    retained: int
    unit: Literal["bytes", "rows"] = "bytes"
    seconds: float | None = None
    at: Position | None = None
    end_to_end: float | None = None
