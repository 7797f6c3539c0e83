"""The contract as test cases. A connector's test file is one fixture and three classes:

    from syncline.testing import conformance

    @pytest.fixture
    def driver(tmp_path):
        with Mine(tmp_path / "a") as source, Mine(tmp_path / "b") as target:
            yield conformance.Driver(connector, source, target)

    class TestSource(conformance.SourceSuite): ...
    class TestTarget(conformance.TargetSuite): ...
    class TestStream(conformance.StreamSuite): ...

The driver writes and reads two fresh, empty databases without Syncline; what these hold is the truth that
every case compares with. A case that a system cannot have is skipped with its reason, by a flag of the
driver, never by silence. Random cases print their seed; `SYNCLINE_SEED` replays it.

    driver      what a connector hands in; `sql.SqlDatabase` is most of it for a system with SQL
    reading     ReadingSuite: discover, split, read, read_keys, digest     (part of SourceSuite, TargetSuite)
    log         SourceSuite: attach, floor and ceiling, changes, release
    writing     TargetSuite: prepare, load, upsert, delete, truncate, finish, swap, sequences
    checking    check, mend, size, writers                         (part of SourceSuite, TargetSuite)
    fencing     fences, positions, ledger, join, forget                    (part of TargetSuite)
    round_trip  StreamSuite: from a source's log into a target, marks, 1,000 random transactions
"""

from __future__ import annotations

from .driver import Delete, Driver, Empty, Held, Insert, PlainDatabase, Update, Write
from .log import SourceSuite
from .round_trip import StreamSuite
from .sql import SqlDatabase
from .writing import TargetSuite

__all__ = [
    "Delete",
    "Driver",
    "Empty",
    "Held",
    "Insert",
    "PlainDatabase",
    "SourceSuite",
    "SqlDatabase",
    "StreamSuite",
    "TargetSuite",
    "Update",
    "Write",
]
