"""A snapshot of what one pipeline has told, and its persisted form."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from ..errors import NeedsOperator, SynclineError
from ..words import State

VERSION = 1
COMPARING, WAITING, SKIPPED = "comparing", "waiting", "skipped"
"""States of a table that only a run has, besides those of `words.State`; a run that ended has verdicts."""


_ON_THE_WAY = (WAITING, SKIPPED, State.COPYING, State.CATCHING_UP)


@dataclass(frozen=True, slots=True)
class TableFigures:
    """One table: its state with the reason, rows copied and changes applied since the worker began, and the
    rows it is thought to have."""

    table: str
    state: str = WAITING
    detail: str = ""
    rows_copied: int = 0
    changes_applied: int = 0
    expected_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error, as far as others than its finder need it; `at` is when, in seconds since 1970."""

    code: str
    message: str
    remedy: str
    at: float

    @classmethod
    def of(cls, error: SynclineError, at: float) -> Self:
        """The trouble that an error is."""
        return cls(error.code, str(error), error.remedy, at)


@dataclass(frozen=True, slots=True)
class Figures:
    """One pipeline at the moment `at`. Times are seconds since 1970.

    `lag`, `retained`, `lag_seconds` and `end_to_end_seconds` are as `model.Lag` has them, measured at
    `lag_at`, for the first time at `lag_since`; None before the log was looked at. `synced_at` is when
    the target was last known to hold all that the log told. `still_since` is since when nothing was
    reached although the log had more, or could not be read; None while that is not so. `parked` keys are
    set aside. `progress_at` is when something was last committed at the target, `trouble` the last error,
    until something is reached after it. `notice` is the last sentence that was said.
    """

    at: float = 0.0
    stream: str = ""
    source: str = ""
    target: str = ""
    tables: tuple[TableFigures, ...] = field(default=())
    position: str | None = None
    lag: int | None = None
    lag_unit: str = "bytes"
    lag_seconds: float | None = None
    end_to_end_seconds: float | None = None
    lag_at: float | None = None
    lag_since: float | None = None
    synced_at: float | None = None
    still_since: float | None = None
    retained: int | None = None
    parked: int = 0
    rows_per_second: float = 0.0
    changes_per_second: float = 0.0
    progress_at: float | None = None
    notice: str = ""
    trouble: Trouble | None = None

    @property
    def settled(self) -> bool:
        """Whether a table is past its copy, so that being behind means something."""
        return any(table.state not in _ON_THE_WAY for table in self.tables)

    def behind_seconds(self, now: float) -> float | None:
        """How old the target is at the moment `now`: since when it is not known to hold all that the log
        told, and at least what a message takes end to end: a log that is read to its end and tells nothing is
        a stall too. Figures that get old make it grow; None before the log was looked at."""
        since = self.lag_since if self.synced_at is None else self.synced_at
        return None if since is None else max(0.0, now - since, self.end_to_end_seconds or 0.0)

    def still_seconds(self, now: float) -> float:
        """For how long nothing was reached although there was something to reach."""
        return 0.0 if self.still_since is None else max(0.0, now - self.still_since)

    def differs(self, other: Figures) -> bool:
        """Whether more than the passing of time lies between the two."""
        return self._lasting() != other._lasting()

    def _lasting(self) -> Figures:
        lag, end_to_end = (
            0.0 if seconds is not None and seconds < 2 else seconds
            for seconds in (self.lag_seconds, self.end_to_end_seconds)
        )
        return replace(
            self,
            at=0.0,
            lag_at=None,
            synced_at=None,
            still_since=None,
            lag_seconds=lag,
            end_to_end_seconds=end_to_end,
        )

    def to_json(self) -> dict[str, Any]:
        """The persisted form."""
        members = {name.name: getattr(self, name.name) for name in fields(self)}
        members["tables"] = [{n.name: getattr(t, n.name) for n in fields(t)} for t in self.tables]
        if self.trouble is not None:
            members["trouble"] = {n.name: getattr(self.trouble, n.name) for n in fields(self.trouble)}
        return {"v": VERSION, **members}

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Self:
        """The figures that `to_json` of this or an older version wrote; NeedsOperator for a newer one's."""
        if members.get("v", 0) > VERSION:
            raise NeedsOperator(
                "read",
                "figures",
                "a newer Syncline wrote them",
                "use that version, or remove the state database",
            )
        known = {name.name for name in fields(cls)}
        given = {name: value for name, value in members.items() if name in known}
        given["tables"] = tuple(TableFigures(**table) for table in given.get("tables", ()))
        if given.get("trouble"):
            given["trouble"] = Trouble(**given["trouble"])
        return cls(**given)
