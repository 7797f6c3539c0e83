"""The open stores of a run, and its end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncline.errors import Interrupted
from tests.runs import pipeline


@pytest.mark.timeout(30)
def test_a_stop_between_two_calls_ends_the_next_one(tmp_path: Path) -> None:
    a, b = tmp_path / "a.db", tmp_path / "b.db"
    with closing(sqlite3.connect(a, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        reached = []

        def stop(*_: object) -> None:
            reached.append(True)
            writer.execute("BEGIN IMMEDIATE")  # the call that is about to begin waits for its end
            run.stop()

        run = pipeline(f"sqlite:///{a}", f"sqlite:///{b}", before={"floor": stop})
        with pytest.raises(Interrupted):
            run.run()
        assert reached == [True]
