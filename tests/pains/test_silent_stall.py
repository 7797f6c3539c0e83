"""A stream that lives and moves nothing: what a message takes from the source's log to the target's position
is measured, and grows while it does not arrive."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from syncline.engine import canary
from syncline.engine.canary import Canary
from syncline.errors import Transient
from syncline.model import Lag
from tests.runs import Following, Notices, execute, value, wait_for

from .watch import count, equal, live


class Measures(Notices):
    """Keeps the last measure."""

    lag = Lag(0, 0)

    def behind(self, lag: Lag) -> None:
        self.lag = lag

    def end_to_end(self) -> float:
        return self.lag.end_to_end or 0.0


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "CANARY_SECONDS", 0.2)


def test_what_is_measured_is_what_the_target_has_committed(pair: tuple[str, str]) -> None:
    source, target = pair
    seen = Measures()
    with Following(source, target, observer=seen):
        live(target)
        wait_for(lambda: seen.lag.end_to_end is not None, "the first measure")
        with psycopg.connect(target) as application:
            application.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            execute(source, "UPDATE t SET n = -1")
            wait_for(lambda: seen.end_to_end() > 3, "a measure that grows")
            assert seen.lag.end_to_end is not None
        wait_for(lambda: count(target, "n = -1") == 100, "the change")
        wait_for(lambda: seen.end_to_end() < 3, "a measure of afterwards")
    equal(source, target)


def test_an_idle_stream_stores_its_position_for_a_message_alone(pair: tuple[str, str]) -> None:
    source, target = pair
    position = "SELECT position FROM syncline.streams"
    with Following(source, target, observer=Measures()):
        live(target)
        for _ in range(2):
            before = value(target, position)
            wait_for(lambda then=before: value(target, position) != then, "another position")  # type: ignore[misc]


class Wire:
    """As much of a Source as a canary asks."""

    def __init__(self, canary: Callable[[str, int], bool]) -> None:
        self.canary = canary


def test_one_is_on_its_way_at_most_and_a_failed_one_is_not_waited_for() -> None:
    now = [100.0]
    sent: list[int] = []

    def write(stream: str, number: int) -> bool:
        sent.append(number)
        if len(sent) == 2:
            raise Transient("measure", stream, "the connection is gone")
        return True

    wire, bird = Wire(write), Canary("s", lambda: now[0])
    bird.send(wire)  # type: ignore[arg-type]
    bird.send(wire)  # type: ignore[arg-type]
    assert len(sent) == 1
    now[0] += 7
    bird.arrived(sent[0] + 1)
    assert bird.seconds == 7, "another worker's proves nothing"
    bird.arrived(sent[0])
    now[0] += 5
    assert bird.seconds == 7
    with pytest.raises(Transient):
        bird.send(wire)  # type: ignore[arg-type]
    now[0] += 100
    assert bird.seconds == 7
    bird.send(wire)  # type: ignore[arg-type]
    now[0] += 9
    assert (len(sent), bird.seconds) == (3, 9)


def test_a_slow_one_is_followed_at_once_and_a_quick_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of a stall that is over must not keep its alarm; an idle stream must write little."""
    monkeypatch.setattr(canary, "CANARY_SECONDS", 60.0)
    now = [100.0]
    sent: list[int] = []
    wire = Wire(lambda stream, number: sent.append(number) is None)
    bird = Canary("s", lambda: now[0])
    bird.send(wire)  # type: ignore[arg-type]
    now[0] += 30
    bird.arrived(sent[-1])
    bird.send(wire)  # type: ignore[arg-type]
    assert len(sent) == 2
    now[0] += 1
    bird.arrived(sent[-1])
    assert bird.seconds == 1
    now[0] += 59
    bird.send(wire)  # type: ignore[arg-type]
    assert len(sent) == 2
    now[0] += 1
    bird.send(wire)  # type: ignore[arg-type]
    assert len(sent) == 3
