"""What a target keeps of each table of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .position import Position
from .schema import Schema
from .span import Span


class State(StrEnum):
    """The states of a table, and who sets them.

    COPYING      the copy, in the transaction that puts the spans into the ledger
    CATCHING_UP  the copy, once every span is done; the goal is recorded with it
    LIVE         the applier, at the first position that is not before the goal
    GAP          the start of a run, when the log between position and now is lost
    FAILED       the applier, when the table's changes cannot be applied; the detail says why
    """

    COPYING = "copying"
    CATCHING_UP = "catching up"
    LIVE = "live"
    GAP = "gap"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TableState:
    """A table of a stream: its schema at the source, its state, and from where to where it is replayed.

    `created`: Syncline made the target's table, and so builds its indexes and foreign keys.
    `aside`: rows go to a table beside the one they will replace when the stream's tables are live.
    """

    schema: Schema
    state: State
    floor: Position | None = None
    goal: Position | None = None
    created: bool = False
    aside: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span of the ledger; `rows` is None until its rows are in the target."""

    span: Span
    rows: int | None = None
