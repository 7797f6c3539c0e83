"""Several changes of a key become one: which change wrote which cell last.

Keys come as numbers from 0 on, one a key, so that a table of them is an array. Nothing here looks at values.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

_NONE = -1
"""In the place of the number of a change: there is none."""


class Survivors(NamedTuple):
    """What is left, as numbers of changes: of each key that is gone the change that took it away, of each row
    the change that wrote it last. Each list is in the order in which its keys came in.

    `cells` has `written` for the first masked column, then for the second and so on: the change whose cell
    stands in that column, -1 when no change sent it. `reread` are rows that came from another key with
    such a cell.
    """

    gone: array[int]
    written: array[int]
    cells: array[int]
    reread: array[int]


def follow(kinds: bytes, origins: memoryview, keys: memoryview, count: int, masks: bytes) -> Survivors:
    """Follow each of `count` keys through changes in the order of the log.

    One of b'I', b'U', b'D' a change in `kinds`; 32-bit numbers of keys in `origins` (the row's key before the
    change) and in `keys` (after it; of no meaning for a delete). `masks` has a byte a change for the first
    masked column, then for the second and so on: not zero where its cell is unsent. IndexError for a key's
    number that is not below `count`, ValueError for lengths that do not match.
    """
    changes = len(kinds)
    if len(origins) != changes or len(keys) != changes or (len(masks) % changes if changes else masks):
        raise ValueError(f"{len(origins)} and {len(keys)} keys, {len(masks)} masks, {changes} changes")
    state = Keys(count, len(masks) // changes if changes else 0)
    for index in range(changes):
        if kinds[index] == 68:  # D
            state.remove(origins[index], index)
        else:
            state.write(origins[index], keys[index], index, masks, changes)
    return state.survivors(origins, keys, changes)


class Keys:
    """What is known of each key: the changes that wrote its row and each of its masked cells, that took it
    away, and with which it came in as one that has a row and as one that is gone."""

    def __init__(self, count: int, width: int) -> None:
        self.count = count
        self.width = width
        none = b"\xff" * (4 * count)
        self.last = array("i", none)
        self.entered = array("i", none)
        self.gone = array("i", none)
        self.left = array("i", none)
        self.moved = bytearray(count)
        self.cells = array("i", none * width)

    def remove(self, key: int, index: int) -> None:
        """The row of that key goes away."""
        self.last[key] = _NONE
        if self.gone[key] == _NONE:
            self.left[key] = index
        self.gone[key] = index

    def write(self, origin: int, key: int, index: int, masks: bytes, changes: int) -> None:
        """The row that had the key `origin` is written under `key`."""
        known = self.last[origin] != _NONE
        if origin != key:
            moved = True
        elif known:
            moved = self.moved[key] != 0
        else:
            moved = self.gone[key] != _NONE
        for column in range(self.width):
            cell = index
            if masks[column * changes + index]:
                cell = self.cells[origin * self.width + column] if known else _NONE
            self.cells[key * self.width + column] = cell
        if origin != key:
            self.remove(origin, index)
        self.gone[key] = _NONE
        if self.last[key] == _NONE:
            self.entered[key] = index
        self.last[key] = index
        self.moved[key] = moved

    def survivors(self, origins: memoryview, keys: memoryview, changes: int) -> Survivors:
        """What is left after all changes."""
        gone, written, reread = array("i"), array("i"), array("i")
        survivors = array("i")
        for index in range(changes):
            key = origins[index]
            if self.gone[key] != _NONE and self.left[key] == index:
                gone.append(self.gone[key])
            key = keys[index]
            if self.last[key] == _NONE or self.entered[key] != index:
                continue
            if self.moved[key] and self._has_hole(key):
                reread.append(self.last[key])
            else:
                survivors.append(key)
                written.append(self.last[key])
        cells = array("i", bytes(4 * self.width * len(survivors)))
        self._gather(survivors, cells)
        return Survivors(gone, written, cells, reread)

    def _has_hole(self, key: int) -> bool:
        for column in range(self.width):  # noqa: SIM110 - a loop in C, where any() would call a generator
            if self.cells[key * self.width + column] == _NONE:
                return True
        return False

    def _gather(self, survivors: array[int], cells: array[int]) -> None:
        for column in range(self.width):
            for place in range(len(survivors)):
                key = survivors[place]
                cells[column * len(survivors) + place] = self.cells[key * self.width + column]
