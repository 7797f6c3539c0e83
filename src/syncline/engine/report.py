"""What a run tells while it works and when it is done; the CLI and `--json` show nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from shlex import quote
from typing import Literal, Protocol

from ..errors import SynclineError
from ..model import Lag, Position, State, TableName
from .throttle import RateLimit
from .transform.rules import Rules


class Verdict(StrEnum):
    """How a table stands at the end of a run."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_COMPARED = "not compared (source still changing)"
    PARKED = "parked"  # equal but for keys that the target cannot take
    SKIPPED = "skipped"
    FAILED = "failed"
    FOLLOWED = "live"  # a follow that was stopped: nothing was compared, nothing was asked to be
    PLANNED = "would be copied"  # --dry-run
    RESUMED = "would go on"  # --dry-run, the stream knows this table


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. Globs match table names such as `orders` or `sales.orders`, those of `rules`
    included, which say what becomes of a table on its way.

    `pipeline` is the name of the stream's pipeline, '' for the pair's own one; `pipelines` all names that
    are known, for messages. `keep` leaves the stream at both ends when a run is done, so that the next one
    goes on; without `compare` such a run does not compare. `rate_limit` bounds how fast rows are copied, and
    log is read until the goals are reached.
    `schema`: a live table whose columns change at the source is changed alike or copied anew (`evolve`), or
    stops by name (`freeze`).
    `give_up_after` seconds of trouble without progress end a one-off run; a following one never gives up.
    """

    tables: Sequence[str] = ()
    exclude: Sequence[str] = ()
    follow: bool = False
    replace: bool = False
    dry_run: bool = False
    remove: bool = False
    pipeline: str = ""
    pipelines: Sequence[str] = ()
    keep: bool = False
    compare: bool = True
    give_up_after: float = 300.0
    workers: int = 2
    max_bytes: int = 8 << 20
    span_rows: int = 50_000
    rate_limit: RateLimit | None = None
    rules: Mapping[str, Rules] = field(default_factory=dict)
    schema: Literal["evolve", "freeze"] = "evolve"

    @property
    def piece_rows(self) -> int:
        """The rows of a span, less where a limit makes more of them last long."""
        return self.rate_limit.piece("rows", self.span_rows) if self.rate_limit else self.span_rows

    @property
    def piece_bytes(self) -> int:
        """The bytes that a copy reads at once, less where a limit makes more of them last long."""
        return self.rate_limit.piece("bytes", self.max_bytes) if self.rate_limit else self.max_bytes

    def remedy(self, table: TableName | None = None) -> str:
        """The command that copies a table of the source anew, or all, as a message ends with it."""
        if self.pipeline:
            named = f" {quote(str(table))}" if table else ""
            return f"syncline resync {self.pipeline}{named}"
        return f"--replace --tables '{table}'" if table else "--replace"


@dataclass(slots=True)
class TableReport:
    """One table's line of the final report; `seconds` from the first of its spans to the last copied row.
    `rows_before` of its rows were copied by an earlier run that this one goes on from.
    `source` is the table's name there where it is carried under another."""

    table: TableName
    verdict: Verdict
    target: TableName | None = None
    rows_copied: int = 0
    changes_applied: int = 0
    seconds: float = 0.0
    detail: str = ""
    source: TableName | None = None
    rows_before: int = 0

    @property
    def name(self) -> TableName:
        """The name that the user knows the table by: the source's."""
        return self.source or self.table

    @property
    def rows_per_second(self) -> float:
        """Rows that this run copied a second; 0 when it copied none."""
        return (self.rows_copied - self.rows_before) / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Report:
    """The final report of a run."""

    stream: str
    source: str
    target: str
    tables: list[TableReport] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # what is left behind and why, and other remarks

    @property
    def exit_code(self) -> int:
        """0 when every table is as it was asked to be, else 1."""
        fine = (Verdict.EQUAL, Verdict.FOLLOWED, Verdict.PLANNED, Verdict.RESUMED)
        return 0 if all(table.verdict in fine for table in self.tables) else 1


class Observer(Protocol):
    """Is told what goes on, from several threads; returns quickly."""

    def planned(self, tables: Sequence[tuple[TableName, int | None]]) -> None:
        """These tables take part, with the rows they are thought to have."""

    def notice(self, text: str) -> None:
        """One sentence: a wait and whose fault it is, a retry, a skipped table."""

    def failed(self, error: SynclineError) -> None:
        """The run met an error, and tries again."""

    def state(self, table: TableName, state: State, detail: str) -> None:
        """A table came into a state."""

    def resumed(self, table: TableName, rows: int) -> None:
        """The ledger holds so many rows of a table already; its copy goes on from there."""

    def copied(self, table: TableName, rows: int, nbytes: int) -> None:
        """So many more rows of a table, of so many bytes, are committed at the target; 0 as a span begins."""

    def applied(self, table: TableName, changes: int) -> None:
        """So many more changes of a table are committed at the target."""

    def reached(self, position: Position) -> None:
        """The target holds everything up to this position."""

    def behind(self, lag: Lag) -> None:
        """How much of the source's log is not applied yet."""

    def parked(self, keys: int) -> None:
        """So many keys of the stream are parked."""

    def comparing(self, table: TableName) -> None:
        """A table's rows are being compared."""


class Silent:
    """An observer that says nothing."""

    def planned(self, tables: Sequence[tuple[TableName, int | None]]) -> None: ...

    def notice(self, text: str) -> None: ...

    def failed(self, error: SynclineError) -> None: ...

    def state(self, table: TableName, state: State, detail: str) -> None: ...

    def resumed(self, table: TableName, rows: int) -> None: ...

    def copied(self, table: TableName, rows: int, nbytes: int) -> None: ...

    def applied(self, table: TableName, changes: int) -> None: ...

    def reached(self, position: Position) -> None: ...

    def behind(self, lag: Lag) -> None: ...

    def parked(self, keys: int) -> None: ...

    def comparing(self, table: TableName) -> None: ...
