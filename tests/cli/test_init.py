"""`syncline init` and `syncline schema`: a first configuration that is right as it stands."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from syncline.control.project import open_project

from .command import start, syncline

ROOT = Path(__file__).resolve().parents[2]


def shop(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "shop.db")) as file, file:
        file.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
        file.execute("CREATE TABLE visits (at TEXT)")
    return f"sqlite:///{folder}/shop.db"


def test_the_file_it_writes_is_right_and_is_never_overwritten(tmp_path: Path) -> None:
    source, target, place = shop(tmp_path), f"sqlite:///{tmp_path}/copy.db", tmp_path / "syncline.toml"
    outcome = syncline("init", source, target, "--config", str(place))
    assert outcome.code == 0, outcome
    assert outcome.out.startswith(f"wrote {place}: pipeline shop, 1 table\nleft out visits: ")
    project = open_project(place)
    assert project.pipelines().keys() == {"shop"}
    text = place.read_text()
    assert text.startswith("#:schema ./syncline.schema.json\n")
    schema = json.loads((tmp_path / "syncline.schema.json").read_text())
    assert schema == json.loads((ROOT / "docs/syncline.schema.json").read_text())
    again = syncline("init", source, target, "--config", str(place))
    assert (again.code, again.err) == (
        2,
        f"syncline: cannot write {place}: it is there already; edit it, or name another with --config\n",
    )
    assert place.read_text() == text


def test_every_line_that_is_commented_out_is_right_too(tmp_path: Path) -> None:
    place = tmp_path / "syncline.toml"
    assert syncline("init", shop(tmp_path), "sqlite:///copy.db", "--config", str(place)).code == 0
    keys = ("include", "exclude", "schedule", "schema", "workers", "[", "retained", "lag", "parked", "stand")
    keys += ("command", "webhook", "url")
    lines = [
        line.removeprefix("# ") if line.removeprefix("# ").startswith(keys) else line
        for line in place.read_text().splitlines()
    ]
    place.write_text("\n".join(lines))
    configuration = open_project(place).configuration
    assert configuration.pipelines["shop"].budget.retained_log == 10 << 30
    assert configuration.alarm.command


def test_a_password_is_not_written_down(postgres_database: Callable[[], str], tmp_path: Path) -> None:
    url = postgres_database()
    with psycopg.connect(url) as server:
        server.execute("CREATE TABLE orders (id bigint PRIMARY KEY)")
    password = urlsplit(url).password
    assert password
    place = tmp_path / "syncline.toml"
    outcome = syncline("init", url, "sqlite:///copy.db", "--config", str(place), "--json")
    assert outcome.code == 0, outcome
    (variable,) = outcome.document["variables"]
    text = place.read_text()
    assert f'"env:{variable}"' in text
    assert password not in text + outcome.out + outcome.err


def test_it_refuses_and_writes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "syncline.toml"
    missing = syncline("init", "sqlite:///none.db", "sqlite:///copy.db", "--config", str(place))
    assert missing.code == 2
    assert missing.err.count("\n") == 1
    source = shop(tmp_path)
    assert syncline("init", source, source, "--config", str(place)).code == 2
    unasked = syncline("init", "--config", str(place))
    assert (
        unasked.err == "syncline: cannot write syncline.toml: FROM is not given; say syncline init FROM TO\n"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "shop.db"]


def test_in_a_terminal_it_asks(tmp_path: Path) -> None:
    import os
    import pty

    source, place = shop(tmp_path), tmp_path / "syncline.toml"
    ours, theirs = pty.openpty()
    with start("init", "--config", str(place), stdin=theirs) as process:
        os.close(theirs)
        os.write(ours, f"{source}\nsqlite:///copy.db\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, err
    assert "FROM" in err
    assert "TO" in err
    assert out.endswith("now: syncline check shop, then syncline run\n")
    assert place.exists()


def test_the_schema_is_published(tmp_path: Path) -> None:
    outcome = syncline("schema")
    assert outcome.code == 0
    assert outcome.out == (ROOT / "docs/syncline.schema.json").read_text()
