"""A small shop: four tables that refer to one another, and about 100,000 rows."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

CUSTOMERS, PRODUCTS, ORDERS = 5_000, 2_000, 25_000
TABLES = ("customers", "products", "orders", "order_lines")
STATES = ("new", "paid", "sent", "returned")
BUSY_SECONDS = 30

_SCHEMA = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, city TEXT, joined DATE NOT NULL);
CREATE TABLE products (
    sku TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, price REAL NOT NULL, stock INTEGER NOT NULL DEFAULT 0,
    picture BLOB);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
    placed_at TIMESTAMP NOT NULL, state TEXT NOT NULL DEFAULT 'new', note TEXT);
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders (id), line INTEGER NOT NULL,
    sku TEXT NOT NULL REFERENCES products (sku), quantity INTEGER NOT NULL, price REAL NOT NULL,
    PRIMARY KEY (order_id, line));
CREATE INDEX orders_customer ON orders (customer_id);
"""
_FIRST = (
    "Ada",
    "Björn",
    "Chiara",
    "Dmitri",
    "Elif",
    "Fatou",
    "Grace",
    "Hiro",
    "Inés",
    "Jürgen",
    "Kofi",
    "Lê",
)
_LAST = ("Abe", "Brandt", "Côté", "Diallo", "Eriksen", "Fischer", "García", "Haddad", "Ito", "Kowalska")
_CITIES = ("Aarhus", "Bogotá", "Dakar", "Hanoi", "İzmir", "Kraków", "Osaka", "Zürich", None)
_THINGS = ("kettle", "lamp", "notebook", "scarf", "teapot", "clock", "blanket", "basket")


def make(path: Path, seed: int) -> int:
    """Write the shop into a new SQLite file; returns how many rows it has."""
    rng = random.Random(seed)
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.executescript(_SCHEMA)
        shop.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", _customers(rng))
        shop.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?)", _products(rng))
        for order in range(1, ORDERS + 1):
            insert_order(shop, rng, order, rng.randint(1, CUSTOMERS))
        return sum(count(shop, table) for table in TABLES)


def count(shop: sqlite3.Connection, table: str) -> int:
    """How many rows a table of the shop has."""
    (rows,) = shop.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(rows)


def insert_order(shop: sqlite3.Connection, rng: random.Random, order: int | None, customer: int) -> int:
    """Add an order with one to five lines; returns how many rows that were. `order` None numbers it anew."""
    placed = f"{_day(rng, 2026)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00"
    note = rng.choice((None, "", "leave it with the neighbour", "Grüße · 你好 · مرحبا"))
    number = shop.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?)", (order, customer, placed, rng.choice(STATES), note)
    ).lastrowid
    lines = [
        (number, line, sku(rng.randrange(PRODUCTS)), rng.randint(1, 9), rng.randint(100, 9999) / 100)
        for line in range(1, rng.randint(1, 5) + 1)
    ]
    shop.executemany("INSERT INTO order_lines VALUES (?, ?, ?, ?, ?)", lines)
    return 1 + len(lines)


def sku(number: int) -> str:
    """The key of a product."""
    return f"SKU-{number:05}"


def differences(left: Path, right: Path) -> int:
    """How many rows only one of two shops has, told by SQLite itself."""
    with closing(sqlite3.connect(left)) as shop:
        shop.execute("ATTACH ? AS other", (str(right),))
        only = 0
        for table in TABLES:
            for one, two in (("main", "other"), ("other", "main")):
                query = (
                    f"SELECT count(*) FROM (SELECT * FROM {one}.{table} EXCEPT SELECT * FROM {two}.{table})"
                )
                only += shop.execute(query).fetchone()[0]
        return only


def _customers(rng: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, CUSTOMERS + 1):
        name = f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
        email = f"customer{number}@example.org"
        yield number, name, email, rng.choice(_CITIES), _day(rng, rng.randint(2010, 2025))


def _products(rng: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(PRODUCTS):
        picture = rng.randbytes(rng.randint(20, 200)) if rng.random() < 0.5 else None
        title = f"{rng.choice(_THINGS)} no. {number}"
        yield sku(number), title, rng.randint(100, 9999) / 100, rng.randint(0, 500), picture


def _day(rng: random.Random, year: int) -> str:
    return f"{year}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
