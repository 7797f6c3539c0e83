"""Nothing is downloaded or reported home, at the first run or any other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.command import syncline

WATCH = """
import os, socket
def told(name, real):
    def call(*arguments, **more):
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"{name} {arguments[-1]!r}\\n")
        return real(*arguments, **more)
    return call
socket.getaddrinfo = told("getaddrinfo", socket.getaddrinfo)
class Told(socket.socket):
    def connect(self, address):
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"connect {address!r}\\n")
        return super().connect(address)
socket.socket = Told
with open(os.environ["CALLS"], "a") as calls:
    calls.write("watching\\n")
"""


def test_a_run_between_files_opens_no_connection(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as file, file:
        file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    stores = f"sqlite:///{tmp_path}/shop.db", f"sqlite:///{tmp_path}/copy.db"
    calls = tmp_path / "calls"
    for command in ("check", "sync", "cutover"):
        options = ("--quiet-for", "0.1") if command == "cutover" else ()
        env = {"PYTHONPATH": str(tmp_path), "CALLS": str(calls), "HOME": str(tmp_path / "home")}
        outcome = syncline(command, *stores, *options, env=env)
        assert outcome.code == 0, outcome
    assert set(calls.read_text().splitlines()) == {"watching"}
