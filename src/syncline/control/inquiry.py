"""Questions to the state database, asked in the cheapest way.

Looking at a SQLite file of today's version loads no SQLAlchemy, which takes longer than all the rest of
`syncline status`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from .project import Project
from .stored import BUSY_SECONDS, VERSION, Answer, Select, state_file


def read(project: Project, question: Callable[[Select], Answer]) -> Answer:
    """The answer to one of these questions, as of one moment. NeedsOperator when the state database cannot be
    read."""
    if (file := state_file(project)) is not None:
        try:
            return _ask(file, question)
        except (sqlite3.Error, LookupError):
            pass  # not there, not of today, or damaged: `state` makes it, brings it up to date or says so
    from .state import open_state

    with open_state(project) as state:
        return state.ask(question)


def _ask(path: Path, question: Callable[[Select], Answer]) -> Answer:
    uri = f"file:{quote(str(path))}?mode=rw"  # never makes one
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as file:
        file.execute("BEGIN")
        if file.execute("SELECT version_num FROM alembic_version").fetchone() != (VERSION,):
            raise LookupError
        return question(file.execute)
