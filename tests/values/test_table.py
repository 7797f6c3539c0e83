"""The page of types is what the code says."""

from __future__ import annotations

from syncline.model import Kind

from .table import PAGE, page, table


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(PAGE.read_text()), "run python -m tests.values.table"


def test_every_canonical_type_has_a_line() -> None:
    assert len(table().splitlines()) == 2 + len(Kind)
