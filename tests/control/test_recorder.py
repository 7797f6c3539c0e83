"""The figures of a pipeline: counted, compared, kept in a form that later versions read."""

from __future__ import annotations

import orjson
import pytest

from syncline.engine.pace import Pace
from syncline.engine.report import Report, TableReport, Verdict
from syncline.errors import NeedsOperator
from syncline.model import Lag, Position, State, TableName
from syncline.observe.figures import Figures, TableFigures
from syncline.observe.recorder import Recorder

ORDERS = TableName("orders", "sales")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_keeps_what_it_is_told() -> None:
    clock, lines = Clock(), []
    recorder = Recorder(lambda text, **members: lines.append((text, members["event"])), clock)
    report = Report(
        "syncline_x", "here", "there", [TableReport(TableName("v"), Verdict.SKIPPED, detail="no key")]
    )
    recorder.follow(report)
    recorder.planned([(ORDERS, 50)])
    recorder.state(ORDERS, State.COPYING, "")
    recorder.copied(ORDERS, 30, 300)
    recorder.copied(ORDERS, 20, 200)
    recorder.state(ORDERS, State.LIVE, "")
    recorder.state(ORDERS, State.LIVE, "")
    recorder.reached(Position("7"))
    recorder.applied(ORDERS, 3)
    recorder.behind(Lag(10, 20, "bytes", 0.5))
    clock.now += 5
    figures = recorder.snapshot()
    assert figures.tables == (
        TableFigures("sales.orders", "live", "", 50, 3, 50),
        TableFigures("v", "skipped", "no key"),
    )
    assert (figures.stream, figures.source, figures.target) == ("syncline_x", "here", "there")
    assert (figures.at, figures.position, figures.progress_at) == (1005.0, "7", 1000.0)
    assert (figures.lag, figures.retained, figures.lag_seconds, figures.lag_at) == (10, 20, 0.5, 1000.0)
    assert (figures.rows_per_second, figures.changes_per_second) == (10.0, 0.6)
    assert lines == [("sales.orders: copying", "state"), ("sales.orders: live", "state")]


def test_it_knows_since_when_nothing_moves() -> None:
    clock = Clock()
    recorder = Recorder(clock=clock)
    recorder.state(ORDERS, State.LIVE, "")
    recorder.behind(Lag(10, 20, seconds=1.0, at=Position("1")))
    clock.now += 60
    recorder.behind(Lag(90, 99, seconds=61.0, at=Position("1")))
    recorder.copied(ORDERS, 5, 5)  # a table beside it does not move the position
    figures = recorder.snapshot()
    assert (figures.still_seconds(clock.now), figures.behind_seconds(clock.now)) == (60.0, 61.0)
    assert figures.behind_seconds(clock.now + 30) == 91.0, "old figures do not stay young"
    recorder.behind(Lag(80, 99, seconds=50.0, at=Position("2")))
    assert recorder.snapshot().still_seconds(clock.now) == 0
    recorder.behind(Lag(0, 99, seconds=0.0, at=Position("3")))
    recorder.failed(NeedsOperator("reach", "the target", "it is away"))
    clock.now += 7
    assert recorder.snapshot().still_seconds(clock.now) == 7.0, "nobody looks at the log meanwhile"


def test_trouble_stays_until_something_is_committed_after_it() -> None:
    recorder = Recorder()
    recorder.failed(NeedsOperator("reach", "the source", "it is away", "start it"))
    trouble = recorder.snapshot().trouble
    assert trouble is not None
    assert (trouble.code, trouble.remedy) == ("needsoperator", "start it")
    recorder.state(ORDERS, State.LIVE, "")
    assert recorder.snapshot().trouble == trouble
    recorder.reached(Position("1"))
    assert recorder.snapshot().trouble is None


def test_the_passing_of_time_is_no_difference() -> None:
    figures = Figures(at=1.0, lag_seconds=0.2, lag_at=1.0, position="1")
    assert not figures.differs(Figures(at=9.0, lag_seconds=0.7, lag_at=8.0, position="1"))
    assert figures.differs(Figures(at=1.0, lag_seconds=0.2, lag_at=1.0, position="2"))
    assert figures.differs(Figures(at=1.0, lag_seconds=30.0, lag_at=1.0, position="1"))


def test_a_log_that_is_read_to_its_end_and_tells_nothing_is_behind() -> None:
    clock = Clock()
    recorder = Recorder(clock=clock)
    recorder.behind(Lag(0, 99, seconds=0.0, at=Position("1"), end_to_end=45.0))
    assert recorder.snapshot().behind_seconds(clock.now) == 45.0


def test_the_persisted_form_stays_as_it_is() -> None:
    text = (
        '{"v":1,"at":5.5,"stream":"s","source":"a","target":"b","tables":[{"table":"t","state":"live",'
        '"detail":"","rows_copied":1,"changes_applied":2,"expected_rows":null}],"position":"0/1","lag":3,'
        '"lag_unit":"bytes","lag_seconds":0.5,"end_to_end_seconds":0.25,"lag_at":5.0,"lag_since":2.0,"synced_at":4.5,'
        '"still_since":null,"retained":4,"parked":6,"rows_per_second":0.0,'
        '"changes_per_second":1.5,"progress_at":4.5,"notice":"n","trouble":{"code":"c","message":"m",'
        '"remedy":"r","at":1.0}}'
    )
    assert orjson.dumps(Figures.from_json(orjson.loads(text)).to_json()).decode() == text
    older = (
        text.replace('"end_to_end_seconds":0.25,', "")
        .replace('"lag_since":2.0,"synced_at":4.5,"still_since":null,', "")
        .replace('"parked":6,', "")
    )
    assert Figures.from_json(orjson.loads(older)).parked == 0
    with pytest.raises(NeedsOperator, match="a newer Syncline"):
        Figures.from_json({"v": 2})
    assert Figures.from_json({"v": 1, "at": 1.0}) == Figures(at=1.0)


class Log:
    """As much of a Source as a pace asks."""

    end = 0

    def compare(self, a: Position, b: Position) -> int:
        return int(a) - int(b)

    def ceiling(self) -> Position:
        return Position(str(self.end))

    def lag(self, stream: str, at: Position) -> Lag:
        return Lag(self.end - int(at), self.end)


def test_seconds_are_those_since_the_logs_end_was_reached() -> None:
    clock, log = Clock(), Log()
    pace = Pace(log, clock)  # type: ignore[arg-type]
    log.end = 5
    assert pace.lag("s", Position("0")).seconds is None
    clock.now += 3
    pace.reach(Position("5"))
    log.end = 9
    assert pace.lag("s", Position("5")).seconds == 3, "it was at the end as of three seconds ago"
    clock.now += 10
    assert pace.lag("s", Position("5")) == Lag(4, 9, "bytes", 13, Position("5"))
    pace.reach(Position("9"))
    assert pace.lag("s", Position("5")) == Lag(0, 9, "bytes", 0, Position("9")), (
        "the rest held nothing for the stream"
    )


def test_a_load_that_never_ends_is_not_a_standstill() -> None:
    clock, log = Clock(), Log()
    pace = Pace(log, clock)  # type: ignore[arg-type]
    for second in range(1, 2000):
        clock.now += 1
        log.end = second * 10
        lag = pace.lag("s", Position(str(max(0, log.end - 25))))
        pace.reach(Position(str(log.end - 15)))
    assert lag.seconds is not None
    assert 1 <= lag.seconds <= 4
