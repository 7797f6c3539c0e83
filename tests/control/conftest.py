"""Rooms for tests that run pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .project import Room, make_shop
from .project import room as made_room

PIPELINE = """
[pipelines.{name}]
from = "{source}"
to = "{target}"
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A project with one pipeline, `orders`, between the SQLite files shop.db and copy.db."""
    with made_room(tmp_path) as made:
        monkeypatch.setenv("XDG_STATE_HOME", made.env["XDG_STATE_HOME"])
        source = make_shop(tmp_path / "shop.db")
        made.write(PIPELINE.format(name="orders", source=source, target=f"sqlite:///{tmp_path}/copy.db"))
        yield made
