"""Tables in the order of their foreign keys."""

from __future__ import annotations

from syncline.engine.order import generations, parents_first
from syncline.model import ForeignKey, Schema, TableName


def table(name: str, *parents: str) -> Schema:
    keys = tuple(ForeignKey(f"to_{p}", ("p",), TableName(p), ("id",)) for p in parents)
    return Schema(TableName(name), (), (), "test", foreign_keys=keys)


def names(*schemas: Schema) -> list[str]:
    return [str(name) for name in parents_first(schemas)]


def test_a_parent_stands_before_its_children() -> None:
    assert names(table("a", "b"), table("b", "c"), table("c")) == ["c", "b", "a"]


def test_a_table_may_refer_to_itself_and_to_tables_outside() -> None:
    assert names(table("a", "a", "elsewhere"), table("b", "a")) == ["a", "b"]


def test_generations_hold_no_parent_and_child_together() -> None:
    groups = generations(
        [table("child", "root", "other"), table("grandchild", "child"), table("root"), table("other")]
    )
    assert [sorted(map(str, group)) for group in groups] == [["other", "root"], ["child"], ["grandchild"]]


def test_a_circle_breaks_and_the_rest_keeps_its_order() -> None:
    order = names(table("a", "b"), table("b", "a"), table("child", "a"), table("root"), table("b2", "root"))
    assert order.index("child") > order.index("a")
    assert order.index("b2") > order.index("root")
