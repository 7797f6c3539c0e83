"""Positions: `number.salt`, the number of a log row and the random text that it got when it was written.

A backup of the file goes on with the very numbers that were given out after it was made, but not with their
salts: whoever finds the salt of a position at its number has the history that the position was taken from
(Promise 7). A number alone, as the first versions wrote it, is read as well and proves only the number.
"""

from __future__ import annotations

from ...model import Position
from .connection import Connection
from .triggers import LOG


def number_of(position: Position) -> int:
    """The number of the log row."""
    return int(position.partition(".")[0])


def position_at(number: int, salt: str) -> Position:
    """The position at a log row."""
    return Position(f"{number}.{salt}")


def read_end(db: Connection) -> Position:
    """The position at the log's last row; '0' before there is a log."""
    row = db.row(f"SELECT seq, salt FROM {LOG} ORDER BY seq DESC LIMIT 1") if db.has(LOG) else None
    return Position("0") if row is None else position_at(*row)


def proves(db: Connection, position: Position) -> bool:
    """Whether the log has the row that the position was taken from."""
    salt = db.value(f"SELECT salt FROM {LOG} WHERE seq = ?", (number_of(position),))
    return salt is not None and position.partition(".")[2] in ("", salt)
