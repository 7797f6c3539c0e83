"""Everything that would go wrong with a run, gathered before anything is touched.

A problem is what a run would be refused with, found by the same code: here every refusal is kept, there the
first one is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..connector import Claim, Source, Store, Target
from ..errors import Interrupted, Refused, SynclineError, Transient
from ..model import Problem, Schema, Severity, Span, TableName
from ..model.position import stream_name
from .gap import compare_log
from .plan import Plan, discover, make_plan
from .report import Options
from .shared import refuse_shared, side_name
from .stores import Stores
from .transform.source import TransformedSource

FEW_KEYS = 3


class End(StrEnum):
    """Which of the two stores has a problem."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Found:
    """A problem, and the store at which its statement is to be run."""

    end: End
    problem: Problem


@dataclass(slots=True)
class Findings:
    """What a check found: the stores by name, the tables that a run would sync, and all problems."""

    stream: str = ""
    source: str = ""
    target: str = ""
    tables: list[TableName] = field(default_factory=list)
    problems: list[Found] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """2 when a run would be refused, 1 when it would leave something out, park it or wait, else 0."""
        severities = {found.problem.severity for found in self.problems}
        return 2 if Severity.REFUSE in severities else 1 if Severity.WARN in severities else 0


class Check:
    """One look at two stores; nothing is changed at either. `deep` also reads all rows of the source for
    values that are no values of their columns' types."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        open_target: Callable[[], Target],
        options: Options,
        *,
        deep: bool = False,
    ) -> None:
        self._stores = Stores(lambda: TransformedSource(open_source(), options.rules), open_target)
        self._options, self._deep = options, deep
        self._found = Findings()
        self._safe: set[Found] = set()

    def run(self) -> Findings:
        """Look at everything. A store that cannot be opened is a problem; one that goes away meanwhile is
        Transient. Interrupted after `stop`."""
        self._found, self._safe = Findings(), set()
        try:
            self._look()
        except SynclineError:
            self._stores.check()
            raise
        finally:
            self._stores.close()
        self._found.problems = [
            Found(found.end, replace(found.problem, safe=found in self._safe))
            for found in dict.fromkeys(self._found.problems)
        ]
        return self._found

    def stop(self, signal_number: int = 2) -> None:
        """End the look from a signal handler or another thread."""
        self._stores.stop(signal_number)

    def mend(self, found: Found) -> None:
        """Run the statement of a safe problem at its store; SynclineErrors tell why it was not to be done."""
        try:
            store: Store = self._stores.source() if found.end is End.SOURCE else self._stores.target()
            store.mend(found.problem.statement)
        finally:
            self._stores.close()

    def _look(self) -> None:
        source, target = self._stores.source(), self._stores.target()
        self._found.source, self._found.target = source.name, target.name
        opened = [self._try(End.SOURCE, source.identity), self._try(End.TARGET, target.identity)]
        if not all(opened):
            return
        here, there = source.identity(), target.identity()
        if here.id == there.id:
            error = Refused("sync", source.name, "it is the target as well", "name two databases")
            self._add(End.TARGET, Problem.of(error))
            return
        self._found.stream = stream_name(here, there, self._options.pipeline)
        try:
            self._look_on(source, target)
        except (Transient, Interrupted):
            raise
        except SynclineError as error:  # there is no way past it, such as damage in a file
            self._add(End.TARGET if target.name in str(error) else End.SOURCE, Problem.of(error))

    def _look_on(self, source: Source, target: Target) -> None:
        """What can be told once both stores are open."""
        here, name = source.identity(), self._found.stream
        known, beside = target.peek(name), target.peek(side_name(name))
        if known and known.position:
            self._try(End.SOURCE, lambda: compare_log(known, here, source))
        plan = self._plan(source, target, known, beside)
        tables = [new.schema for new in plan.new] + [state.schema for state in plan.known.values()]
        names = [new.schema.table for new in plan.new]
        self._try(End.TARGET, lambda: refuse_shared(name, here, target, names, self._options))
        self._found.tables = sorted(schema.table for schema in tables)
        for problem in source.check(name, tables, begun=known is not None, deep=self._deep):
            self._add(End.SOURCE, problem)
        new = [table.schema for table in plan.new if not table.adopted]
        nbytes = source.size(new) if new else 0
        for problem in target.check(name, tables, nbytes=nbytes):
            self._add(End.TARGET, problem)
        planned = {schema.table for schema in tables}
        for made in (new.schema for new in plan.new if new.made):
            for omission in target.omissions(made, planned):
                self._add(End.TARGET, Problem.about(Severity.NOTE, made.table, f"{omission} at the target"))
        if self._deep:
            for schema in tables:
                self._found.problems += [Found(End.SOURCE, problem) for problem in _unfit(source, schema)]
        self._mark_safe(source, target)

    def _try(self, end: End, call: Callable[[], object]) -> bool:
        try:
            call()
        except SynclineError as error:
            self._stores.check()
            self._add(end, Problem.of(error))
            return False
        return True

    def _plan(self, source: Source, target: Target, known: Claim | None, beside: Claim | None) -> Plan:
        """What a run would do, with everything that it would refuse kept as problems."""
        unsyncable = {schema.table for schema in discover(source, target) if schema.problem}

        def end_of(table: TableName | None) -> End:
            return End.SOURCE if table is None or table in unsyncable else End.TARGET

        def keep(table: TableName | None, errors: Sequence[Refused]) -> None:
            for error in errors:
                self._add(end_of(table), Problem.of(error, table))

        tables = dict(known.tables) if known else {}
        if known and beside and beside.position:
            tables |= beside.tables
        plan = make_plan(source, target, tables, self._options, keep)
        for table, reasons in plan.skipped.items():
            for reason in reasons:
                self._add(end_of(table), Problem.about(Severity.WARN, table, reason))
        return plan

    def _add(self, end: End, problem: Problem) -> None:
        self._found.problems.append(Found(end, problem))

    def _mark_safe(self, source: Source, target: Target) -> None:
        for found in self._found.problems:
            store: Store = source if found.end is End.SOURCE else target
            statement = found.problem.statement
            if statement and not found.problem.conditional and store.mends(statement):
                self._safe.add(found)


def _unfit(source: Source, schema: Schema) -> Iterator[Problem]:
    """The rows that would be parked because a value of theirs is none of its column's type."""
    count, first = 0, ""
    for rows in source.read(schema, Span()):
        count += len(rows.refused)
        if rows.refused and not first:
            first = rows.refused[0].reason
    if count:
        noun = "row" if count == 1 else "rows"
        why = f"{count:,} {noun} would be parked: {first}"
        yield Problem.about(Severity.WARN, schema.table, why, "mend the values at the source")
