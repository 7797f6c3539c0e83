"""The table of canonical types in docs/types.md, from the code: `python -m tests.values.table` writes it."""

from __future__ import annotations

from pathlib import Path

from syncline.connectors.mysql import types as mysql
from syncline.connectors.postgres import types as postgres
from syncline.connectors.sqlite import declared as sqlite
from syncline.model import Column, Kind, Type

PAGE = Path(__file__).parents[2] / "docs" / "types.md"

_SHOWN = {
    Kind.ARRAY: Type(Kind.ARRAY, element=Type(Kind.INT32)),
    Kind.OPAQUE: Type(Kind.OPAQUE, system="postgres", name="point"),
    Kind.ENUM: Type(Kind.ENUM, labels=("a", "b"), system="postgres", name="public.mood"),
}

_FORMS = {
    Kind.DECIMAL: "digits as they are stored: `1.10` stays `1.10`; `NaN`, `Infinity`, `-Infinity`",
    Kind.DATE: "`2024-02-29`, `0044-03-15 BC`, `infinity`",
    Kind.TIME: "`23:59:59.5`, `24:00:00`; no zeros at the end",
    Kind.TIMESTAMP: "`2024-02-29 23:59:59.5`, `… BC`, `infinity`",
    Kind.TIMESTAMPTZ: "the same in UTC, `2024-02-29 23:59:59.5+00`",
    Kind.INTERVAL: "ISO 8601, each part with its sign: `P1M-1DT-0.5S`",
    Kind.UUID: "lower case with dashes",
    Kind.JSON: "the text as it is",
    Kind.ENUM: "the label",
    Kind.ARRAY: "PostgreSQL's literal, bounds and NULLs included: `[0:1]={1,NULL}`",
    Kind.OPAQUE: "its own system's text",
}

_NO_SIGN = "SQLite: NaN (it would store NULL) and -0.0 (it would store 0.0)"
_NO_FLOAT = f"{_NO_SIGN}; MySQL: NaN and infinities; MariaDB: these and -0.0"

_REFUSED = {
    Kind.FLOAT32: _NO_FLOAT,
    Kind.FLOAT64: _NO_FLOAT,
    Kind.TEXT: "PostgreSQL: U+0000, which it has no form for",
    Kind.DECIMAL: "PostgreSQL: beyond 131,072 digits before or 16,383 behind the point; infinity before 14; "
    "MySQL: NaN, where it is declared with up to 65 digits",
    Kind.DATE: "PostgreSQL: days that are none, beyond 5874897, before 4714-11-24 BC; "
    "MySQL: BC, beyond 9999, infinity",
    Kind.TIMESTAMP: "PostgreSQL: moments that are none, beyond 294276, before 4714-11-24 BC; MySQL: as date",
    Kind.TIMESTAMPTZ: "as timestamp",
    Kind.JSON: "PostgreSQL: text that is no JSON, and JSON in a key",
    Kind.ENUM: "PostgreSQL: a label that the target's type lacks",
    Kind.ARRAY: "the whole column where the element has no form",
    Kind.OPAQUE: "the whole column where another system holds it, or PostgreSQL lacks the type",
}


def table() -> str:
    """The lines of the table."""
    lines = [
        "| canonical type | travels in Arrow as | in PostgreSQL | in MariaDB and MySQL |"
        " in SQLite, declared | refused |",
        "|---|---|---|---|---|---|",
    ]
    for kind in Kind:
        shown = _SHOWN.get(kind, Type(kind))
        form = f": {_FORMS[kind]}" if kind in _FORMS else ""
        lines.append(
            f"| {shown} | {shown.arrow}{form} | `{postgres.native(shown)}` |"
            f" {_in_mysql(shown)} | `{sqlite.declare(shown)}` | {_REFUSED.get(kind, '')} |"
        )
    return "\n".join(lines)


def _in_mysql(shown: Type) -> str:
    """What a column is declared as, and whether its comment names the canonical type."""
    text = mysql.definition(Column("c", shown), "postgres", 0, "", ())
    return f"`{mysql.declare(shown, 'postgres')}`" + (", with a comment" if " COMMENT " in text else "")


def page(before: str) -> str:
    """The page with its table made anew; the rest stays as somebody wrote it."""
    head, _, rest = before.partition("<!-- table -->\n")
    _, _, tail = rest.partition("<!-- end of table -->\n")
    return f"{head}<!-- table -->\n{table()}\n<!-- end of table -->\n{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
