"""The memory connector: databases inside this process, and the executable specification of the contract.

In: URLs `memory://NAME` of databases that `database(NAME)` made. Out: a Source and a Target with everything
the contract promises and nothing else: no server, no thread, no clock. Imports the contract, the model and
errors. Use it to test an engine, a transform or a connector's other end; it keeps nothing on disk.

    database  tables, transactions, the log and who still needs it
    cells     rows between Python tuples and columns
    store     what a Source and a Target have in common: discover, split, read, digest
    source    following the log
    target    streams, fences, ledgers, and transactions that carry the position
"""

from __future__ import annotations

from ...connector import Source, Target
from ...errors import Refused
from .database import Database, Transaction, database, drop
from .source import MemorySource
from .target import MemoryTarget

__all__ = ["Database", "Transaction", "connector", "database", "drop"]

SCHEME = "memory://"


class MemoryConnector:
    """Opens `memory://NAME`."""

    def source(self, url: str) -> Source:
        """The database as a source."""
        return MemorySource(_name(url))

    def target(self, url: str) -> Target:
        """The database as a target."""
        return MemoryTarget(_name(url))


def _name(url: str) -> str:
    if not url.startswith(SCHEME) or not url.removeprefix(SCHEME):
        raise Refused("open", url, "it is not of the form memory://NAME")
    return url.removeprefix(SCHEME)


connector = MemoryConnector()
