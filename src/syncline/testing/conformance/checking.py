"""What stores say of themselves before anything runs, and that saying it changes nothing."""

from __future__ import annotations

import pytest

from ...connector import Source, Target
from ...errors import Refused
from ...model import Problem, Severity
from .stage import ITEMS, Suite, everything, item, item_row, live, quiet

UNSAFE = (
    "DROP TABLE items",
    "DELETE FROM items",
    "UPDATE items SET amount = 0",
    "GRANT SELECT ON items TO public; DELETE FROM items",
    "PRAGMA journal_mode=WAL; DELETE FROM items",
)


def refusals(problems: object) -> list[str]:
    """The problems that would refuse a run."""
    assert isinstance(problems, list)
    assert all(isinstance(problem, Problem) for problem in problems)
    return [str(problem) for problem in problems if problem.severity is Severity.REFUSE]


class SourceChecks(Suite):
    """Of a Source."""

    def test_a_check_refuses_nothing_that_attach_allows_and_changes_nothing(self) -> None:
        self.driver.source.create(ITEMS)
        self.driver.source.execute([item(1)])
        source = self.source()
        schema = self.discovered(source, ITEMS)
        assert refusals(list(source.check(self.stream, [schema], begun=False, deep=True))) == []
        assert list(self.driver.source.leftovers()) == []
        assert not source.attached(self.stream)
        assert everything(source, schema) == [item_row(1)]
        source.attach(self.stream, [schema], quiet)

    def test_a_check_lets_a_stream_go_on(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.driver.source.execute([item(1)])
        assert refusals(list(self.source().check(self.stream, [schema], begun=True))) == []
        self.driver.source.execute([item(2)])
        source.check_log(self.stream, floor)
        assert everything(source, schema) == [item_row(1), item_row(2)]

    def test_a_size_is_a_number_or_unknown(self) -> None:
        self.driver.source.create(ITEMS)
        self.driver.source.execute([item(number) for number in range(100)])
        source = self.source()
        size = source.size([self.discovered(source, ITEMS)])
        assert size is None or size > 0

    def test_a_writer_whose_transaction_is_over_has_none_open(self) -> None:
        self.driver.source.create(ITEMS)
        source = self.source()
        held = self.driver.source.hold([item(1)])
        during = list(source.writers(60.0))
        held.commit()
        assert all(writer.who for writer in during)
        assert not [writer for writer in source.writers(60.0) if writer.open]

    def test_only_what_is_safe_is_run(self) -> None:
        self.driver.source.create(ITEMS)
        source: Source | Target
        for source in (self.source(), self.target(self.driver.source)):
            for statement in UNSAFE:
                assert not source.mends(statement)
                with pytest.raises(Refused):
                    source.mend(statement)
        self.driver.source.execute([item(1)])


class TargetChecks(Suite):
    """Of a Target."""

    def test_a_check_refuses_nothing_that_works_and_changes_nothing(self) -> None:
        schema, target = self.translated(ITEMS), self.target()
        assert refusals(list(target.check(self.stream, [schema], nbytes=0))) == []
        assert list(self.driver.target.leftovers()) == []
        assert target.peek(self.stream) is None
        claim = target.claim(self.stream)
        target.prepare(schema, aside=False)
        assert refusals(list(target.check(self.stream, [schema], nbytes=None))) == []
        assert target.peek(self.stream) == claim, "the fence is where it was"
        target.finish(claim, [live(schema, created=True)])
