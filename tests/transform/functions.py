"""Functions that tests transform tables by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from syncline import transform

if TYPE_CHECKING:
    import pandas as pd


@transform("orders")
def taxed(orders: pd.DataFrame) -> pd.DataFrame:
    """A further column, and no drafts."""
    orders = orders[orders["status"] != "draft"]
    return orders.assign(with_tax=orders["total"] * 2)


@transform("orders")
def picky(orders: pa.Table) -> pa.Table:
    """Fails over whatever holds a total of 7.70."""
    seven = pa.scalar("7.70").cast(pa.decimal128(10, 2))
    if pc.any(pc.equal(orders["total"], seven)).as_py():
        raise ValueError("seven\nis too many")
    return orders


def slow(orders: pa.Table) -> pa.Table:
    """Takes its time over rows."""
    if len(orders):
        time.sleep(3)
    return orders


def rekeyed(orders: pa.Table) -> pa.Table:
    """Not allowed: another key."""
    return orders.set_column(0, "id", pc.add(orders["id"], 1))


def keyless(orders: pa.Table) -> pa.Table:
    """Not allowed: no key."""
    return orders.drop_columns(["id"])


def untyped(orders: pa.Table) -> pa.Table:
    """Not allowed: a column without a type."""
    return orders.append_column("x", pa.nulls(len(orders)))


def broken(orders: pa.Table) -> pa.Table:
    """Fails over no rows."""
    raise RuntimeError("no")


def silent(orders: Any) -> Any:
    """Does not say what it takes."""
    return orders
