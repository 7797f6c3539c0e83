"""What would go wrong, found before anything runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from ..errors import Refused, SynclineError, one_line
from .schema import TableName

# What may follow a statement in a remedy: who runs it, or what else has to be so.
_REMEDY = re.compile(
    r"\brun (?P<statement>(?:ALTER|CREATE|DROP|GRANT|PRAGMA|ROLLBACK|SELECT) .+?)"
    r"(?P<whom> as (?:its|their|a) .+?)?(?P<more>,? (?:when|and restart|or) .+)?$"
)


class Severity(StrEnum):
    """How bad a problem is.

    REFUSE   a run would be refused, or could not go on
    WARN     a run would leave something out, park it, wait for somebody, or do less than one may think
    NOTE     worth knowing; nothing is lost
    """

    REFUSE = "refuse"
    WARN = "warn"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that would go wrong with a run, in the words of the error that the run would end with.

    `table` is the source's name of the one table that it is about. A remedy that says `run STATEMENT`
    holds the exact statement, to be run at the store that has the problem. `safe`: it may be run without
    thinking twice, as it changes no row and restarts nothing, and this role may give it.
    """

    severity: Severity
    operation: str
    subject: str
    reason: str
    remedy: str = ""
    table: TableName | None = None
    safe: bool = False

    @classmethod
    def of(
        cls, error: SynclineError, table: TableName | None = None, severity: Severity = Severity.REFUSE
    ) -> Self:
        """What a run would end with; a reason that says `…; run STATEMENT` gives its remedy."""
        reason, remedy = error.reason, error.remedy
        if not remedy:
            reason, _, statement = reason.partition("; run ")
            remedy = statement and f"run {statement}"
        return cls(severity, error.operation, error.subject, reason, remedy, table)

    @classmethod
    def about(cls, severity: Severity, table: TableName, reason: str, remedy: str = "") -> Self:
        """A problem of one table."""
        error = Refused("sync", f"table {table}", reason, remedy)
        return cls.of(error, table, severity)

    @property
    def statement(self) -> str:
        """The exact statement of the remedy, '' when it is none or leaves something to be filled in."""
        found = _REMEDY.search(self.remedy)
        return found["statement"] if found and "…" not in found["statement"] else ""

    @property
    def conditional(self) -> bool:
        """Whether something else has to be so, or has to follow, for the statement to be right."""
        found = _REMEDY.search(self.remedy)
        return bool(found and found["more"])

    def __str__(self) -> str:
        return one_line(f"{self.reason}; {self.remedy}" if self.remedy else self.reason)


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who writes to a source: a clause that says who, and whether their transaction is open."""

    who: str
    open: bool
