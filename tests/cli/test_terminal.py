"""What a real terminal is sent."""

from __future__ import annotations

import os
import pty
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
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
    process, parts = shown("sync", *arguments, env=env)
    written = "".join(parts)
    assert process.wait() == 0, written
    return written


def shown(*arguments: str, env: Mapping[str, str]) -> tuple[subprocess.Popen[str], Iterator[str]]:
    """A command that was started, and what it writes to its terminal, until it ends."""
    ours, theirs = pty.openpty()
    process = start(*arguments, env={"COLUMNS": "80", **env}, stdout=theirs, stderr=theirs)
    os.close(theirs)

    def parts() -> Iterator[str]:
        with suppress(OSError):  # Linux says so when the last writer has closed a terminal
            while part := os.read(ours, 65536):
                yield part.decode(errors="replace")
        os.close(ours)

    return process, parts()


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_watch_leaves_the_terminal_as_it_was(
    stores: list[str], tmp_path: Path, number: int, code: int
) -> None:
    config = tmp_path / "syncline.toml"
    config.write_text(f'[pipelines.shop]\nfrom = "{stores[0]}"\nto = "{stores[1]}"\n')
    env = {"SYNCLINE_CONFIG": str(config), "XDG_STATE_HOME": str(tmp_path / "state")}
    process, parts = shown("status", "--watch", env=env)
    written = ""
    for part in parts:
        written += part
        if "never run" in written and process.poll() is None and number:
            process.send_signal(number)
            number = 0
    assert process.wait() == code, written
    assert written.rindex("\x1b[?1049l") > written.rindex("\x1b[?1049h"), "what stood there before is back"
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is there again"
    assert "cannot" not in written
    assert "Traceback" not in written
