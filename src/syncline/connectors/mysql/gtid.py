"""Sets of GTIDs: which transactions of a log are known. Values, in the text forms of both systems.

MySQL: `uuid:1-5:7,uuid:tag:1-3`. MariaDB: the last one of each domain, `0-1-5,1-2-9`. Encoding of a set:
MySQL source, libs/mysql/gtid and sql/rpl_gtid_set.cc, Gtid_set::encode.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Interval = tuple[int, int]
"""Numbers from the first to the last, both included."""

_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_TAGGED: Final = 1


@dataclass(frozen=True, slots=True)
class MySQLSet:
    """Transactions by the server they began at, and a tag; ValueError from `parse` for what is none."""

    intervals: Mapping[tuple[str, str], tuple[Interval, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> MySQLSet:
        """The set of that text; white space does not matter, nor does case."""
        found: dict[tuple[str, str], list[Interval]] = {}
        for part in filter(None, "".join(text.lower().split()).split(",")):
            source, *members = part.split(":")
            owner = str(uuid.UUID(source))
            tag = ""
            for member in members:
                if _TAG.fullmatch(member):
                    tag = member
                    continue
                first, _, last = member.partition("-")
                interval = int(first), int(last or first)
                if not 0 < interval[0] <= interval[1]:
                    raise ValueError(f"{member} in {part} is no interval")
                found.setdefault((owner, tag), []).append(interval)
        return cls({owner: _joined(intervals) for owner, intervals in found.items()})

    def add(self, gtid: str) -> MySQLSet:
        """The set with one transaction more, whose GTID is as the log's events give it."""
        source, _, number = gtid.rpartition(":")
        owner, _, tag = source.partition(":")
        known = self.intervals.get((owner, tag), ())
        return MySQLSet({**self.intervals, (owner, tag): _joined((*known, (int(number), int(number))))})

    def contains(self, other: MySQLSet) -> bool:
        """Whether every transaction of the other one is in this one."""
        return all(
            any(low <= first and last <= high for low, high in self.intervals.get(owner, ()))
            for owner, intervals in other.intervals.items()
            for first, last in intervals
        )

    def encode(self) -> bytes:
        """The form that COM_BINLOG_DUMP_GTID sends; the tagged one only where there is a tag, as older
        servers do not know it."""
        tagged = any(tag for _, tag in self.intervals)
        count = len(self.intervals)
        parts = [struct.pack("<Q", _TAGGED | count << 8 | _TAGGED << 56 if tagged else count)]
        for (owner, tag), intervals in sorted(self.intervals.items()):
            parts.append(uuid.UUID(owner).bytes)
            if tagged:
                parts.append(bytes([len(tag) << 1]) + tag.encode())
            parts.append(struct.pack("<Q", len(intervals)))
            parts += [struct.pack("<QQ", first, last + 1) for first, last in intervals]
        return b"".join(parts)

    def __str__(self) -> str:
        return ",".join(
            ":".join([owner, *filter(None, [tag]), *(_written(interval) for interval in intervals)])
            for (owner, tag), intervals in sorted(self.intervals.items())
        )


@dataclass(frozen=True, slots=True)
class MariaDBSet:
    """The last transaction of each domain: its server and its number."""

    last: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> MariaDBSet:
        """The set of that text."""
        found = {}
        for part in filter(None, "".join(text.split()).split(",")):
            domain, server, number = map(int, part.split("-"))
            found[domain] = server, number
        return cls(found)

    def add(self, gtid: str) -> MariaDBSet:
        """The set after one transaction more."""
        domain, server, number = map(int, gtid.split("-"))
        return MariaDBSet({**self.last, domain: (server, number)})

    def contains(self, other: MariaDBSet) -> bool:
        """Whether every transaction of the other one is in this one, as far as numbers tell."""
        return all(
            domain in self.last and number <= self.last[domain][1]
            for domain, (_, number) in other.last.items()
        )

    def __str__(self) -> str:
        return ",".join(
            f"{domain}-{server}-{number}" for domain, (server, number) in sorted(self.last.items())
        )


GtidSet = MySQLSet | MariaDBSet


def _joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same numbers in the fewest intervals."""
    joined: list[Interval] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(joined)


def _written(interval: Interval) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"
