"""A rate limit: what it does to time, and that it does nothing to rows."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from syncline.engine.throttle import RateLimit, Throttle
from syncline.errors import Interrupted
from tests.control.project import make_shop, rows
from tests.runs import pipeline, sync, verdicts


def test_readers_share_a_limit() -> None:
    now = 100.0
    throttle = Throttle(RateLimit(100, "rows"), lambda: now)
    assert throttle.spend(50, 10**9) == 0.5
    assert throttle.spend(50, 0) == 1.0, "another thread's rows count as well"
    now += 60
    assert throttle.spend(100, 0) == 1.0, "time in which nothing was read is not made up for"
    assert Throttle(RateLimit(1000, "bytes"), lambda: now).spend(10**9, 500) == 0.5
    assert Throttle(None).spend(10**9, 10**9) == 0


def test_what_is_read_at_once_is_small_under_a_small_limit() -> None:
    limit = RateLimit(100, "rows")
    assert limit.piece("rows", 50_000) == 200
    assert limit.piece("bytes", 8 << 20) == 8 << 20
    assert RateLimit(0.1, "rows").piece("rows", 50_000) == 1
    assert RateLimit(1e9, "rows").piece("rows", 50_000) == 50_000


@pytest.mark.parametrize("limit", [RateLimit(1000, "rows"), RateLimit(20_000, "bytes")])
def test_a_limited_run_takes_its_time_and_makes_all_equal(tmp_path: Path, limit: RateLimit) -> None:
    source, target = make_shop(tmp_path / "shop.db", rows=2000), f"sqlite:///{tmp_path}/copy.db"
    begun = time.monotonic()
    report = sync(source, target, rate_limit=limit, keep=True)
    assert time.monotonic() - begun > 0.9, "2,000 rows at 1,000 a second, the last piece unpaid"
    assert verdicts(report) == {"orders": "equal"}
    with closing(sqlite3.connect(tmp_path / "shop.db")) as file, file:
        file.execute("UPDATE orders SET note = note || '!'")
    begun = time.monotonic()
    again = sync(source, target, rate_limit=limit)
    assert verdicts(again) == {"orders": "equal"}
    assert rows(tmp_path / "shop.db") == rows(tmp_path / "copy.db")


def test_a_pause_ends_with_the_run(tmp_path: Path) -> None:
    source, target = make_shop(tmp_path / "shop.db", rows=2000), f"sqlite:///{tmp_path}/copy.db"
    run = pipeline(source, target, rate_limit=RateLimit(0.01, "rows"))
    ended: list[BaseException] = []

    def work() -> None:
        try:
            run.run()
        except Interrupted as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(1)
    run.stop()
    thread.join(20)
    assert not thread.is_alive(), "a pause of a hundred seconds was waited for"
    assert ended
    assert verdicts(sync(source, target)) == {"orders": "equal"}
