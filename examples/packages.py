"""Load this machine's own Debian package index into a database: real names, texts and relations.

    python -m services up postgres postgres-b
    python examples/packages.py "$(python -m services url postgres)"
    syncline sync "$(python -m services url postgres)" sqlite:///packages.db
    syncline sync "$(python -m services url postgres)" "$(python -m services url postgres-b)"
    python -m tests.oracle "$(python -m services url postgres)" sqlite:///packages.db

About 60,000 packages with their maintainers and versions, and about 400,000 dependencies, recommendations
and suggestions, in four tables with foreign keys, text and composite keys. The index is the one that
`apt-get update` keeps; it is read through `apt-cache dumpavail`. Loads into PostgreSQL (`postgresql://…`)
or SQLite (`sqlite:///file`) that has none of the four tables yet.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

Row = tuple[Any, ...]

TABLES = {
    "maintainers": """
        id bigint PRIMARY KEY,
        name text NOT NULL,
        email text,
        UNIQUE (name, email)""",
    "packages": """
        name text PRIMARY KEY,
        section text NOT NULL,
        priority text NOT NULL,
        essential boolean NOT NULL,
        homepage text,
        description text NOT NULL""",
    "versions": """
        package text NOT NULL REFERENCES packages (name),
        version text NOT NULL,
        architecture text NOT NULL,
        maintainer_id bigint NOT NULL REFERENCES maintainers (id),
        source text,
        installed_bytes bigint,
        download_bytes bigint,
        download_mib numeric(12, 3),
        sha256 bytea,
        listed_at timestamp NOT NULL,
        PRIMARY KEY (package, version, architecture)""",
    "dependencies": """
        package text NOT NULL,
        version text NOT NULL,
        architecture text NOT NULL,
        kind text NOT NULL,
        position integer NOT NULL,
        alternative integer NOT NULL,
        target text NOT NULL,
        target_architecture text,
        relation text,
        target_version text,
        PRIMARY KEY (package, version, architecture, kind, position, alternative),
        FOREIGN KEY (package, version, architecture) REFERENCES versions (package, version, architecture)""",
}
INDEXES = ("CREATE INDEX dependencies_target ON dependencies (target)",)
KINDS = (
    *("Pre-Depends", "Depends", "Recommends", "Suggests", "Enhances"),
    *("Breaks", "Conflicts", "Replaces", "Provides"),
)
TARGET = re.compile(
    r"(?P<name>[^\s:(]+)(?::(?P<architecture>\S+))?\s*(?:\((?P<relation><<|<=|=|>=|>>)\s*(?P<version>[^)]+)\))?"
)


@dataclass
class Index:
    """The package index as the rows of the four tables."""

    maintainers: dict[tuple[str, str | None], int] = field(default_factory=dict)
    packages: dict[str, Row] = field(default_factory=dict)
    versions: dict[Row, Row] = field(default_factory=dict)
    dependencies: list[Row] = field(default_factory=list)

    def add(self, record: dict[str, str], listed_at: datetime) -> None:
        """Add one record of the index; one that is listed twice counts once."""
        name, version = record["Package"], record["Version"]
        key = (name, version, record["Architecture"])
        if key in self.versions:
            return
        self.packages.setdefault(
            name,
            (
                *(name, record["Section"], record["Priority"], record.get("Essential") == "yes"),
                *(record.get("Homepage"), record["Description"]),
            ),
        )
        size = int(record["Size"]) if "Size" in record else None
        self.versions[key] = (
            *(*key, self._maintainer(record["Maintainer"]), record.get("Source")),
            int(record["Installed-Size"]) * 1024 if "Installed-Size" in record else None,
            *(size, None if size is None else Decimal(size * 1000 // (1 << 20)).scaleb(-3)),
            *(bytes.fromhex(record["SHA256"]) if "SHA256" in record else None, listed_at),
        )
        for kind in KINDS:
            for position, group in enumerate(filter(None, re.split(r",\s*", record.get(kind, "")))):
                for alternative, text in enumerate(group.split("|")):
                    found = TARGET.match(text.strip())
                    if found:
                        place = (*key, kind.lower(), position, alternative)
                        self.dependencies.append((*place, *found.group(1, 2, 3, 4)))

    def _maintainer(self, text: str) -> int:
        name, _, email = text.partition("<")
        who = (name.strip(), email.rstrip("> ") or None)
        return self.maintainers.setdefault(who, len(self.maintainers) + 1)

    def rows(self) -> dict[str, list[Row]]:
        """The rows of each table, parents first."""
        return {
            "maintainers": [(number, *who) for who, number in self.maintainers.items()],
            "packages": list(self.packages.values()),
            "versions": list(self.versions.values()),
            "dependencies": self.dependencies,
        }


def records() -> Iterator[dict[str, str]]:
    """The records of the index, field by field."""
    with subprocess.Popen(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, encoding="utf-8") as apt:
        record: dict[str, str] = {}
        name = ""
        for line in apt.stdout or ():
            if line[0] in " \t":
                record[name] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                record[name] = value.strip()
            else:
                yield record
                record = {}
        if record:
            yield record


def load_postgres(url: str, tables: dict[str, list[Row]]) -> None:
    """Create and fill the tables in one transaction, by COPY."""
    with psycopg.connect(url) as connection:
        for name, rows in tables.items():
            connection.execute(f"CREATE TABLE {name} ({TABLES[name]})")
            with connection.cursor().copy(f"COPY {name} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        for statement in INDEXES:
            connection.execute(statement)


def load_sqlite(path: str, tables: dict[str, list[Row]]) -> None:
    """Create and fill the tables in one transaction."""
    sqlite3.register_adapter(Decimal, float)
    sqlite3.register_adapter(datetime, lambda moment: moment.isoformat(" "))
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("BEGIN")
        for name, rows in tables.items():
            file.execute(f"CREATE TABLE {name} ({TABLES[name]})")
            places = ", ".join("?" * len(rows[0]))
            file.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
        for statement in INDEXES:
            file.execute(statement)


def main(arguments: list[str]) -> str | None:
    """Load the index into the database of the URL; the reason when that cannot be done."""
    if len(arguments) != 1 or not arguments[0].startswith(("postgresql://", "sqlite:///")):
        return "usage: python examples/packages.py postgresql://…|sqlite:///FILE"
    started = time.monotonic()
    index = Index()
    listed_at = datetime.now(UTC).replace(tzinfo=None)
    try:
        for record in records():
            index.add(record, listed_at)
    except FileNotFoundError:
        return "cannot read the package index: there is no apt-cache here; run this on Debian or Ubuntu"
    if not index.packages:
        return "cannot read the package index: it is empty; run apt-get update"
    tables = index.rows()
    try:
        if arguments[0].startswith("sqlite"):
            load_sqlite(arguments[0].removeprefix("sqlite:///"), tables)
        else:
            load_postgres(arguments[0], tables)
    except (psycopg.Error, sqlite3.Error) as error:
        return f"cannot load the package index: {str(error).strip().splitlines()[0]}"
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in tables.items())
    print(f"{counts} in {time.monotonic() - started:.1f} s")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
