"""The oracle's command line: exit 0 equal, 1 different, 2 not comparable."""

from __future__ import annotations

import argparse
import sqlite3
import sys

import psycopg
import pymysql

from .compare import compare
from .stores import UnknownStore


def main() -> int:
    """Compare, print each difference and a verdict of one line."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description="Compare two stores.")
    parser.add_argument("a", metavar="URL_A")
    parser.add_argument("b", metavar="URL_B")
    parser.add_argument("--tables", nargs="*", metavar="GLOB", help="only these tables")
    parser.add_argument("--exclude", nargs="*", metavar="GLOB", default=[], help="all but these tables")
    asked = parser.parse_args()
    counted: dict[str, int] = {}
    try:
        differences = compare(asked.a, asked.b, asked.tables, exclude=asked.exclude, counted=counted)
    except (psycopg.Error, sqlite3.Error, pymysql.Error, UnknownStore) as error:
        print(f"cannot compare: {str(error).strip()}", file=sys.stderr)
        return 2
    for difference in differences:
        print(difference)
    size = f"{len(counted)} tables, {sum(counted.values()):,} rows"
    print(f"different: {size} looked at" if differences else f"equal: {size}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
