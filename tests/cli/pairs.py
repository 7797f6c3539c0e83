"""Two stores to sync, with something in them, and roles that may do less than everything."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

PASSWORD = "correct-horse"
TABLES = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint REFERENCES customers, note text);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Björn');
INSERT INTO orders VALUES (10, 1, NULL), (11, 2, 'x');
"""


@dataclass(frozen=True)
class Pair:
    """Two stores with something in them, by the URLs of who may do everything."""

    source: str
    target: str


def as_role(url: str, name: str, password: str = PASSWORD) -> str:
    """The URL for another user."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))
