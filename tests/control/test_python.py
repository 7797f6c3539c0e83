"""`syncline.Pipeline`, and the examples of docs/python.md."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import syncline
from syncline.errors import NeedsOperator, Refused
from tests.runs import wait_for

from .project import Room, make_shop, rows, write_row

DOCS = Path(__file__).parents[2] / "docs" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(room: Room, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=room.folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(room.folder / "copy.db") == rows(room.folder / "shop.db")


def test_importing_it_stays_light() -> None:
    script = "import sys, syncline; print(sorted({'pyarrow', 'pydantic', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


def test_it_follows_until_it_is_stopped_and_goes_on(tmp_path: Path) -> None:
    source, target = make_shop(tmp_path / "shop.db"), f"sqlite:///{tmp_path}/copy.db"
    notices: list[str] = []
    pipeline = syncline.Pipeline(source, target, on_notice=notices.append)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    wait_for(lambda: [table.state for table in pipeline.status().tables] == ["live"], "live")
    with pytest.raises(Refused, match="it runs already, in another thread"):
        pipeline.run()
    write_row(tmp_path / "shop.db", 1000)
    wait_for(lambda: rows(tmp_path / "copy.db") == rows(tmp_path / "shop.db"), "the row")
    pipeline.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert any("orders: live" in text for text in notices)
    write_row(tmp_path / "shop.db", 1001)
    report = pipeline.run_until_caught_up()
    assert [(table.verdict, table.rows_copied, table.changes_applied) for table in report.tables] == [
        ("equal", 0, 1)
    ]
    assert "taken away" in pipeline.remove().notes[0]


def test_a_block_raises_what_ended_the_run(tmp_path: Path) -> None:
    pipeline = syncline.Pipeline(make_shop(tmp_path / "a.db"), f"sqlite:///{tmp_path}/a.db")
    pipeline.__enter__()
    wait_for(lambda: pipeline._error is not None, "the end of the run")
    with pytest.raises(Refused, match="it is the target as well"):
        pipeline.__exit__(None, None, None)


def test_a_configured_pipeline_is_held_against_workers(room: Room) -> None:
    pipeline = syncline.Pipeline.from_config("orders", room.folder / "syncline.toml")
    with pipeline:
        wait_for(lambda: bool(pipeline.status().tables), "its start")
        second = syncline.Pipeline.from_config("orders", room.folder / "syncline.toml")
        with pytest.raises((Refused, NeedsOperator), match="works on it"):
            second.run_until_caught_up()
