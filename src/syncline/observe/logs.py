"""A pipeline's lines, in files that are rotated: one JSON object a line.

It has `at`, `level`, `pipeline` and `text`, and where there is something to tell `event` (such as `state`,
`notice`, `alarm`, `figures`), `table`, `state` and `figures`. The same lines go to stderr, as text or JSON.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

import orjson

MOST_BYTES = 10_000_000
KEPT_FILES = 4
AGAIN_SECONDS = 0.3
MEMBERS = "members"
"""The name in `extra=` of what a line holds besides its text, a dictionary for JSON."""

Format = Literal["text", "json"]


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "pipeline": record.name}
        more = getattr(record, MEMBERS, {})
        return orjson.dumps(line | more | {"text": record.getMessage()}).decode()


class _Echo(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return f"{record.name}: " + "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
        )


def open_log(path: Path, name: str, *, echo: Format | None) -> logging.Logger:
    """A logger of that name that writes to the file, about 10 MB of it and four older ones, and with `echo`
    to stderr, in the file's form or as `name: text`. A full disk or a closed terminal stops nobody."""
    logging.raiseExceptions = False
    path.parent.mkdir(parents=True, exist_ok=True)
    file = RotatingFileHandler(
        path, maxBytes=MOST_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True
    )
    file.setFormatter(_Lines())
    handlers: list[logging.Handler] = [file]
    if echo is not None:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(_Echo() if echo == "text" else _Lines())
        handlers.append(terminal)
    logger = logging.Logger(name, logging.INFO)  # of nobody's tree: other libraries' settings do not reach it
    logger.handlers = handlers
    return logger


def append(path: Path, name: str, text: str, *, echo: Format | None, **members: object) -> None:
    """Write one line to a log that is another process's too."""
    logger = open_log(path, name, echo=echo)
    logger.warning(text, extra={MEMBERS: members})
    for handler in logger.handlers:
        handler.close()


def read_log(path: Path, *, last: int, follow: bool) -> Iterator[bytes]:
    """The last lines of a log, and with `follow` those to come, also when the file is rotated away."""
    older = [path.with_name(f"{path.name}.{number}") for number in range(KEPT_FILES, 0, -1)]
    lines: list[bytes] = []
    for file in [*older, path]:
        if file.exists() and file != path:
            lines += file.read_bytes().splitlines()
    held = path.open("rb") if path.exists() else None
    if held is not None:
        lines += held.read().splitlines()
    yield from lines[-last:]
    rest = b""
    while follow:
        piece = held.readline() if held is not None else b""
        if piece:
            rest += piece
            if rest.endswith(b"\n"):
                yield rest.rstrip(b"\n")
                rest = b""
            continue
        if (
            held is None
            or not path.exists()
            or path.stat().st_ino != Path(f"/dev/fd/{held.fileno()}").stat().st_ino
        ):
            held = path.open("rb") if path.exists() else None
            if held is not None:
                continue
        time.sleep(AGAIN_SECONDS)


def show(line: bytes) -> str:
    """A line of a log as people read it, in local time; one that is not of ours as it is."""
    try:
        members = orjson.loads(line)
        at = datetime.fromisoformat(members["at"]).astimezone()
        return f"{at:%Y-%m-%d %H:%M:%S}  {members['text']}"
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return line.decode(errors="replace")
