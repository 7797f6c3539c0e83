"""The benchmarks' command line: exit 0 with the figures, 1 when they could not be taken."""

from __future__ import annotations

import argparse
import json
import sys

import psycopg

from services import ServiceError

from . import BenchError, postgres, sheet


def main() -> int:
    """Measure one system; the figures go to stdout, what is going on to stderr."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast is it, and beside what?")
    parser.add_argument("system", choices=("postgres",))
    parser.add_argument("--json", action="store_true", help="write the figures as one JSON document")
    parser.add_argument(
        "--rows", type=_thousands, default=1_000_000, metavar="N", help="rows of the table, whole thousands"
    )
    parser.add_argument("--rounds", type=_count, default=5, metavar="N", help="runs of each contender")
    asked = parser.parse_args()
    try:
        document = postgres.measure(asked.rows, asked.rounds, _tell)
    except (BenchError, ServiceError, psycopg.Error) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(document, indent=2) if asked.json else sheet.text(document))
    return 0


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _thousands(text: str) -> int:
    if int(text) < 1000 or int(text) % 1000:
        raise ValueError
    return int(text)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
