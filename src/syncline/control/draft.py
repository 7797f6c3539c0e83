"""A first `syncline.toml`, drafted from what two stores hold."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from ..errors import Refused
from .project import FILE
from .stores import redact, source_opener, target_opener

if TYPE_CHECKING:
    from ..connector import Store
    from ..model import Schema

SCHEMA_FILE = "syncline.schema.json"
_SHOWN_TABLES = 40


@dataclass(frozen=True, slots=True)
class Draft:
    """A file that was written: where, its pipeline, how many tables it syncs, why it leaves others out,
    and the environment variables that must be set, as URLs with a password are not written down."""

    path: Path
    pipeline: str
    tables: int
    left_out: dict[str, str]
    variables: list[str]


def write_draft(source: str, target: str, path: Path | None = None) -> Draft:
    """Connect to both stores, look at the tables, and write a configuration with one pipeline, and its JSON
    schema beside it. Refused when the file is there already, or a store cannot be opened; nothing is written
    then."""
    place = (path or Path(FILE)).expanduser().absolute()
    if place.exists():
        raise Refused("write", str(place), "it is there already", "edit it, or name another with --config")
    open_source, open_target = source_opener(source), target_opener(target)
    with closing(open_source()) as origin, closing(open_target()) as sink:
        one, two = _store_name(origin), _store_name(sink)
        if origin.identity().id == sink.identity().id:
            raise Refused("sync", origin.name, "it is the target as well", "name two databases")
        found = {str(schema.table): _reason(schema, sink.refusals(schema)) for schema in origin.discover()}
    if one == two:
        two = f"{two}-copy"
    fine = [table for table, reason in found.items() if not reason]
    left_out = {table: reason for table, reason in found.items() if reason}
    references, variables = _references({one: source, two: target}, place.parent)
    text = _text(one, two, references, fine, left_out)
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
        _write_schema(place.parent / SCHEMA_FILE)
    except OSError as error:
        raise Refused("write", str(place), (error.strerror or str(error)).lower()) from None
    return Draft(place, one, len(fine), left_out, variables)


def _reason(schema: Schema, refusals: Sequence[str]) -> str:
    return schema.problem or "; ".join(refusals)


def _store_name(store: Store) -> str:
    """A name for a store: its file's or its database's, as letters, digits and -."""
    identity = store.identity()
    name = Path(identity.instance).stem if "/" in identity.instance else identity.database
    words = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return words[:40] if words[:1].isalpha() else f"store-{words[:40]}".rstrip("-")


def _references(given: dict[str, str], folder: Path) -> tuple[dict[str, str], list[str]]:
    """The references as the file has them, and the variables that stand for URLs with a password."""
    written, variables = {}, []
    for name, reference in given.items():
        if redact(reference) == reference:
            written[name] = _from_folder(reference.strip(), folder)
            continue
        variable = re.sub(r"\W", "_", f"{name}_URL").upper()
        written[name] = f"env:{variable}"
        variables.append(variable)
    return written, variables


def _from_folder(reference: str, folder: Path) -> str:
    """A reference as it reads from the file's folder: paths in the file start there."""
    for prefix in ("sqlite:///", "file:"):
        path = reference.removeprefix(prefix)
        if path != reference and not path.startswith(("/", "~", ":", "?")) and folder != Path.cwd():
            return prefix + os.path.relpath(path, folder)
    return reference


def _text(one: str, two: str, references: dict[str, str], fine: list[str], left_out: dict[str, str]) -> str:
    lines = [
        f"#:schema ./{SCHEMA_FILE}",
        "# What Syncline keeps in sync. Check it and start it:  syncline run",
        "",
        "[stores]",
        "# A URL, env:NAME or file:PATH; the last two keep a password out of this file.",
        *(f"{name} = {_quoted(reference)}" for name, reference in references.items()),
        "",
        f"[pipelines.{one}]",
        f"from = {_quoted(one)}",
        f"to = {_quoted(two)}",
        "# Tables by name or glob. Without include it is every table, those to come as well. Today:",
        *(f"#   {_commented(table)}" for table in fine[:_SHOWN_TABLES]),
        *([f"#   and {len(fine) - _SHOWN_TABLES} more"] if len(fine) > _SHOWN_TABLES else []),
        '# include = ["sales.*", "orders"]',
        '# exclude = ["*_log"]',
    ]
    if left_out:
        lines.append("# Cannot be synced:")
        lines += [
            f"#   {_commented(f'{table}: {reason}')}"
            for table, reason in list(left_out.items())[:_SHOWN_TABLES]
        ]
    return "\n".join([*lines, "", *_REST.format(name=one).splitlines(), ""])


_REST = """\
# When: "every 15m", or cron's five fields such as "0 3 * * *". Without it each change comes as it happens.
# schedule = "every 15m"
# When a source table changes its columns: "evolve" changes the target's too, "freeze" stops the table.
# schema = "evolve"
# How many spans of tables are copied at once.
# workers = 2
# How fast the source is read while tables are copied: rows or bytes a second.
# rate_limit = "20000 rows/s"

# Bounds whose crossing raises an alarm.
# [pipelines.{name}.budget]
# retained_log = "10 GiB"   # log that the source keeps for this pipeline
# lag = "5m"                # how far the target may be behind
# parked = 100              # keys that the target cannot take
# standstill = "10m"        # no progress while the source's log grows

# Who is told: docs/alarms.md.
# [alarm]
# command = "/usr/local/bin/page-me"
# webhook = "env:ALARM_URL"

# Figures for others: docs/metrics.md.
# [metrics]
# prometheus = "127.0.0.1:9187"
# dogstatsd = "127.0.0.1:8125"

# Where status and reports are kept; by default a SQLite file in the XDG state folder.
# [state]
# url = "postgresql://me@db.example.org/syncline"
"""


def _quoted(text: str) -> str:
    """A TOML string: JSON's escapes are among TOML's."""
    return orjson.dumps(text).decode().replace("\x7f", "\\u007f")


def _commented(text: str) -> str:
    """The text as a comment can hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _write_schema(path: Path) -> None:
    """Put the schema beside the file that names it, unless somebody has."""
    if not path.exists():
        from .model import json_schema

        path.write_bytes(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
