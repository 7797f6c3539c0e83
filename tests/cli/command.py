"""The real command in a process of its own, and what a store looks like before and after it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which no setting of the tester's own changes what the command shows."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("SYNCLINE_", "PG"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        quiet.pop(name, None)
    return {**quiet, "TERM": "xterm-256color", **(extra or {})}


def start(*arguments: str, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
    """Start the command."""
    command = [sys.executable, "-m", "syncline", *arguments]
    pipe = subprocess.PIPE
    options = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True, "cwd": ROOT} | more
    return subprocess.Popen(command, env=environment(env), **options)


def syncline(*arguments: str, env: Mapping[str, str] | None = None, seconds: float = 90) -> Outcome:
    """Run the command to its end."""
    with start(*arguments, env=env) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Outcome(process.returncode, out, err)


def picture(url: str) -> object:
    """Everything that a run could leave behind in a store, and every table's rows; '' for no such file."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.exists():
            return ""
        with closing(sqlite3.connect(path)) as file:
            return [*file.execute("PRAGMA journal_mode"), *file.iterdump()]
    with psycopg.connect(url) as server:
        things = {
            name: server.execute(query).fetchall()
            for name, query in {
                "relations": "SELECT oid::regclass::text, relkind::text, relreplident::text, reloptions::text"
                " FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"
                " ORDER BY 1",
                "schemas": "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1",
                "triggers": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger ORDER BY 1, 2",
                "functions": "SELECT oid::regprocedure::text FROM pg_proc"
                " WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema)' ORDER BY 1",
                "publications": "SELECT pubname FROM pg_publication ORDER BY 1",
                "slots": "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
                " ORDER BY 1",
            }.items()
        }
        tables = "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        tables += " WHERE relkind IN ('r', 'p') AND nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2"
        for schema, table in server.execute(tables).fetchall():
            rows = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(schema, table))
            things[f"{schema}.{table}"] = server.execute(rows).fetchall()
        return things
