"""The table and the backlogs that everybody has to bring over; every row is a function of its number."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from . import BenchError

Database = psycopg.Connection[tuple[object, ...]]

TABLE = "items"

MAKE_TABLE = f"""
CREATE TABLE {TABLE} (
    id bigint PRIMARY KEY,
    customer int NOT NULL,
    reference bigint NOT NULL,
    title text NOT NULL,
    note text,
    amount numeric(12, 2) NOT NULL,
    made_at timestamptz NOT NULL,
    paid boolean NOT NULL,
    weight double precision,
    details jsonb NOT NULL
)"""

# Rows of about 220 bytes, a fifth of the notes NULL.
_ROW = """i, (i * 7919 % 100000)::int, i * 1000003,
    'item ' || md5(i::text),
    CASE WHEN i % 5 > 0 THEN repeat(md5((i + 1)::text), 2) END,
    (i % 1000000)::numeric / 100,
    timestamptz '2020-01-01 00:00:00+00' + i * interval '1 second',
    i % 3 = 0,
    i / 7.0::double precision,
    jsonb_build_object('tag', 'tag ' || i % 100, 'level', i % 10)"""


class Workload:
    """A source's table of `rows` rows, numbered from 1, and what is written to it afterwards.

    Each backlog ends with a transaction of one row, a sentinel of a negative number, for whom the others
    wait; `sentinel` is its number. The backlogs return how many changes they wrote, the sentinel apart.
    """

    def __init__(self, source: Database, rows: int) -> None:
        self._source, self._rows = source, rows
        self._last = rows
        self._surplus = 0  # the first of the rows that the last backlog of 1000-row transactions wrote
        self.sentinel = 0

    @property
    def backlogs(self) -> dict[str, Callable[[], int]]:
        """The kinds of backlog, in the order in which they are to be written: the last needs the first."""
        return {
            "start": self._nothing,
            "1000row": self._thousands,
            "single": self._singles,
            "update": self._updates,
            "mixed": self._mixed,
        }

    def write(self, kind: str) -> int:
        """Write one backlog and its sentinel; the number of changes."""
        changes = self.backlogs[kind]()
        self.sentinel -= 1
        self._source.execute(_insert(self.sentinel, 1))
        return changes

    def _nothing(self) -> int:
        return 0

    def _thousands(self) -> int:
        """As many inserts as the table began with, in transactions of 1000 rows."""
        first = self._surplus = self._take(self._rows)
        self._run(_insert(f"{first} + k * 1000", 1000), self._rows // 1000)
        return self._rows

    def _singles(self) -> int:
        """A fifth as many inserts, each a transaction."""
        count = self._rows // 5
        self._run(_insert(f"{self._take(count)} + k", 1), count)
        return count

    def _updates(self) -> int:
        """Updates of half the rows by key, 1000 a transaction, all over the table."""
        return 1000 * self._run(self._update(1000), max(1, self._rows // 2000))

    def _mixed(self) -> int:
        """400 inserts, 400 updates and 200 deletes a transaction; as many changes as the table began with.
        What is deleted was written before this backlog, so that no change is undone by another."""
        times = self._rows // 1000
        first = self._take(times * 400)
        delete = f"DELETE FROM {TABLE} WHERE {_among(f'{self._surplus} + i * 5', 'k * 200', 200)};"
        return 1000 * self._run(_insert(f"{first} + k * 400", 400) + self._update(400) + delete, times)

    def _update(self, each: int) -> str:
        """An update of the next `each` rows. 7919 is prime: stepping by it meets every row once, in no
        order of the table."""
        chosen = _among(f"1 + i * 7919 % {self._rows}", f"k * {each}", each)
        return (
            f"UPDATE {TABLE} SET amount = amount + 1, note = 'changed ' || md5(note || amount),"
            f" paid = NOT paid WHERE {chosen};"
        )

    def _take(self, count: int) -> int:
        """The first of `count` numbers that no row has had."""
        first, self._last = self._last + 1, self._last + count
        return first

    def _run(self, statements: str, times: int) -> int:
        """Run statements over k = 0, 1, …, each time in a transaction of its own; how many times."""
        loop = f"FOR k IN 0..{times - 1} LOOP {statements} COMMIT; END LOOP;"
        self._source.execute(f"DO $$ BEGIN {loop} END $$")
        return times


def _insert(first: int | str, count: int) -> str:
    """An insert of `count` rows from number `first` on."""
    return f"INSERT INTO {TABLE} SELECT {_ROW} FROM {_numbers(first, count)};"


def _among(key: str, first: str, count: int) -> str:
    """The condition of rows whose key is a function of i, for `count` values of i from `first` on."""
    return f"id = ANY (ARRAY(SELECT {key} FROM {_numbers(first, count)}))"


def _numbers(first: int | str, count: int) -> str:
    return f"generate_series(({first})::bigint, ({first})::bigint + {count - 1}) AS i"


def fill(source: Database, rows: int) -> None:
    """Make the table and its first rows."""
    source.execute(MAKE_TABLE)
    source.execute(_insert(1, rows))
    source.execute(f"VACUUM ANALYZE {TABLE}")


def require_equal(source: Database, target: Database, name: str) -> int:
    """The rows of the table; BenchError when target and source do not hold equal rows, keys and indexes."""
    for what, query in _PICTURE.items():
        wanted, found = (database.execute(query).fetchall() for database in (source, target))
        if wanted != found:
            raise BenchError(f"cannot use the figures of {name}: its {what} are {found}, not {wanted}")
    return int(str(source.execute(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0]))


_PICTURE = {
    "rows": f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {TABLE} AS t",
    "indexes": f"SELECT indexdef FROM pg_indexes WHERE tablename = '{TABLE}' ORDER BY 1",
    "keys": f"SELECT contype, pg_get_constraintdef(oid) FROM pg_constraint"
    f" WHERE conrelid = '{TABLE}'::regclass ORDER BY 1, 2",
    "columns": f"SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
    f" WHERE attrelid = '{TABLE}'::regclass AND attnum > 0 ORDER BY attname",
}
