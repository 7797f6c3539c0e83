"""A folder with syncline.toml and the real command in it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from syncline.control import service
from syncline.control.project import open_project

from ..cli.command import Outcome, start, syncline

BOUND_SECONDS = 60.0  # what a loaded machine may need; that something never comes is the failure


class Room:
    """A project whose XDG state is its own; whatever it starts ends with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
        self.started: list[subprocess.Popen[str]] = []

    def write(self, text: str) -> None:
        """Write syncline.toml."""
        (self.folder / "syncline.toml").write_text(text)

    def call(self, *arguments: str, **env: str) -> Outcome:
        """Run a command to its end, in the folder."""
        return syncline(*arguments, "--config", str(self.folder / "syncline.toml"), env=self.env | env)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command; its lines go to a file, so that nobody has to read them."""
        with (self.folder / "lines.txt").open("a") as lines:
            process = start(
                *arguments,
                "--config",
                str(self.folder / "syncline.toml"),
                env=self.env | env,
                stdout=lines,
                stderr=lines,
            )
        self.started.append(process)
        return process

    @property
    def lines(self) -> str:
        """What started commands have said."""
        return (self.folder / "lines.txt").read_text()

    def status(self, name: str) -> dict[str, Any]:
        """The status of one pipeline, as `syncline status --json` has it."""
        (one,) = service.status(open_project(self.folder / "syncline.toml"), [name])
        return one.to_json(time.time())

    def reports(self) -> list[dict[str, Any]]:
        """The reports of runs that ended, the newest first."""
        return [row.document for row in service.reports(open_project(self.folder / "syncline.toml"))]

    def wait(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status of a pipeline for which the condition holds."""
        deadline = time.monotonic() + BOUND_SECONDS
        while not condition(status := self.status(name)):
            assert time.monotonic() < deadline, (json.dumps(status), self.lines)
            time.sleep(0.05)
        return status

    def wait_live(self, name: str) -> dict[str, Any]:
        """The first status in which every table is live and the worker runs."""
        return self.wait(
            name,
            lambda status: (
                status["running"]
                and bool(status["figures"])
                and {table["state"] for table in status["figures"]["tables"]} == {"live"}
            ),
        )

    @property
    def state_database(self) -> Path:
        """The file of the state database."""
        (path,) = self.folder.glob("state/syncline/*/state.db")
        return path


@contextmanager
def room(folder: Path) -> Iterator[Room]:
    """A room; nothing that it started is left running."""
    made = Room(folder)
    try:
        yield made
    finally:
        for process in made.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in made.started:
            try:
                process.wait(BOUND_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in workers(folder):
            os.kill(pid, signal.SIGKILL)


def workers(folder: Path) -> list[int]:
    """The processes of workers of this folder's configuration, by /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"syncline.control.worker" in words and os.fsencode(folder / "syncline.toml") in words:
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


def make_shop(path: Path, rows: int = 100, tables: Sequence[str] = ("orders",)) -> str:
    """A SQLite file with these tables; its URL."""
    with closing(sqlite3.connect(path)) as file, file:
        for table in tables:
            file.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, note TEXT)")
            file.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(n, f"row {n}") for n in range(rows)])
    return f"sqlite:///{path}"


def write_row(path: Path, key: int, table: str = "orders") -> None:
    """Add a row."""
    with closing(sqlite3.connect(path, timeout=30)) as file, file:
        file.execute(f"INSERT INTO {table} VALUES (?, 'new')", (key,))


def rows(path: Path, table: str = "orders") -> list[tuple[Any, ...]]:
    """All rows of a table; none when there is no such table or file."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as file:
        try:
            return file.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        except sqlite3.OperationalError:
            return []
