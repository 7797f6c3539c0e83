"""What a real terminal is sent."""

from __future__ import annotations

import os
import pty
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from .command import start


@pytest.fixture
def stores(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as file, file:
        file.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        file.executemany("INSERT INTO orders VALUES (?)", ((number,) for number in range(1000)))
    return [f"sqlite:///{tmp_path}/shop.db", f"sqlite:///{tmp_path}/copy.db"]


def seen(arguments: list[str], env: Mapping[str, str]) -> str:
    """All that a run writes to the terminal that its stderr and stdout are."""
    ours, theirs = pty.openpty()
    process = start("sync", *arguments, env={"COLUMNS": "80", **env}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # Linux says so when the last writer has closed a terminal
        pass
    os.close(ours)
    assert process.wait() == 0, written
    return written.decode()


def test_a_terminal_gets_a_picture_and_colours(stores: list[str]) -> None:
    text = seen(stores, {})
    assert "rows/s" in text
    assert "\x1b[?25l" in text, "the picture is drawn in place, without a cursor"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is there again"
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", text)


def test_no_color_is_honoured(stores: list[str]) -> None:
    text = seen(stores, {"NO_COLOR": "1"})
    assert "\x1b[?25l" in text
    assert not re.search(r"\x1b\[[0-9;]*(3[0-8]|9[0-7])m", text)


def test_a_dumb_terminal_gets_plain_lines(stores: list[str]) -> None:
    text = seen(stores, {"TERM": "dumb"})
    assert "\x1b" not in text
    assert "orders: copying, about 1,000 rows" in text
    assert "1 table equal" in text


def test_quiet_leaves_only_the_report(stores: list[str]) -> None:
    text = seen([*stores, "--quiet"], {"TERM": "dumb"})
    assert text.splitlines()[0].startswith("table")
