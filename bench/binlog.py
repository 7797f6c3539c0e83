"""How fast the binlog is read, beside mysql-replication: `python -m bench.binlog [ROWS]`.

Both read the same transactions of 1000 inserts from the same server, in turns; the figures are those of the
fastest of three. Ours end as Arrow columns, theirs as dictionaries of Python values.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import WriteRowsEvent

from services import find
from syncline.connectors.mysql.charsets import read_charsets
from syncline.connectors.mysql.codec import column_of
from syncline.connectors.mysql.connection import Address, ask, log_in
from syncline.connectors.mysql.decoder import Collected
from syncline.connectors.mysql.dump import Dump, Place
from syncline.connectors.mysql.gtid import MariaDBSet, MySQLSet
from syncline.connectors.mysql.reader import Reader

SHAPE = (
    "id bigint PRIMARY KEY, n int, m bigint, a varchar(60), b varchar(200), d decimal(12,2), "
    "ts timestamp NULL, bo boolean, f double, j varchar(40)"
)
ROW = (
    "{first} + seq, seq % 1000, seq * 7, CONCAT('name ', seq), REPEAT(HEX(seq + 1000000), 12), seq / 7,"
    " '2024-01-01 00:00:00', seq % 2, seq / 3, CONCAT('k', seq)"
)


def fill(session: Any, rows: int) -> None:
    """Write the rows, 1000 a transaction."""
    ask(session, "DROP TABLE IF EXISTS seqs")
    ask(session, "CREATE TABLE seqs (seq int)")
    ask(session, f"INSERT INTO seqs VALUES {','.join(f'({at})' for at in range(1000))}")
    ask(session, "DROP TABLE IF EXISTS bench")
    ask(session, f"CREATE TABLE bench ({SHAPE}) CHARACTER SET utf8mb4")
    for first in range(0, rows, 1000):
        ask(session, f"INSERT INTO bench SELECT {ROW.format(first=first)} FROM seqs")


def ours(url: str, place: Place, rows: int) -> float:
    """The seconds until that many rows are Arrow columns."""
    dump = Dump(Address.parse(url), 4713)
    session = log_in(Address.parse(url))
    names = read_charsets(session)
    session.close()
    begun = time.perf_counter()
    dump.start(place)
    found = 0
    for one in Reader(dump, place).read(max_bytes=8 << 20, max_wait=600):
        for part in one.parts:
            if isinstance(part, Collected) and part.table.name == "bench":
                decoded = part.read(part.table.key)
                for place, column in enumerate(part.table.columns):
                    column_of(decoded, place, column, names)
                found += part.count
        if found >= rows:
            break
    seconds = time.perf_counter() - begun
    dump.close()
    return seconds


def theirs(url: str, place: Place, rows: int) -> float:
    """The seconds until mysql-replication has that many rows as Python values."""
    address = Address.parse(url)
    settings = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
    }
    # It begins at a file's start on MariaDB, and knows no tags on MySQL.
    where: dict[str, Any] = {"log_file": place.file, "log_pos": place.offset, "resume_stream": True}
    if isinstance(place.known, MariaDBSet):
        where = {"auto_position": str(place.known), "is_mariadb": True}
    begun = time.perf_counter()
    stream = BinLogStreamReader(
        connection_settings=settings,
        server_id=4714,
        only_events=[WriteRowsEvent],
        only_tables=["bench"],
        **where,
        blocking=True,
    )
    found = 0
    for event in stream:
        found += len(event.rows)
        if found >= rows:
            break
    seconds = time.perf_counter() - begun
    stream.close()
    return seconds


def measure(name: str, rows: int) -> None:
    """Print the figures of one system."""
    server = find(name)
    with server.in_use():
        session = log_in(Address.parse(server.url))
        asked = "@@gtid_binlog_pos" if name == "mariadb" else "@@global.gtid_executed"
        kind: type[MariaDBSet] | type[MySQLSet] = MariaDBSet if name == "mariadb" else MySQLSet
        ask(session, "FLUSH BINARY LOGS")
        status = "SHOW MASTER STATUS" if name == "mariadb" else "SHOW BINARY LOG STATUS"
        file, offset, *_ = ask(session, status)[0]
        place = Place(kind.parse(str(ask(session, f"SELECT {asked}")[0][0])), str(file), int(offset))
        fill(session, rows)
        session.close()
        # A tenth of the rows is enough of what takes so much longer.
        runs: list[tuple[Callable[[str, Place, int], float], int]] = [(ours, rows), (theirs, rows // 10)]
        figures = [[count / run(server.url, place, count) for run, count in runs] for _ in range(3)]
        best = [max(column) for column in zip(*figures, strict=True)]
    faster = best[0] / best[1]
    print(f"{name}: {best[0]:,.0f} rows/s, mysql-replication {best[1]:,.0f} rows/s: {faster:.0f} times")


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    for system in ("mariadb", "mysql"):
        measure(system, int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
