"""What is written into a target is read back as it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given

from syncline.model import Column, Identity, Mark, Parked, Position, Schema, Span, TableName, Type
from syncline.model.position import stream_name

from . import strategies


def through_json(members: Any) -> Any:
    return orjson.loads(orjson.dumps(members))


@given(strategies.types)
def test_types(value: Type) -> None:
    assert Type.from_json(through_json(value.to_json())) == value


@given(strategies.columns)
def test_columns(value: Column) -> None:
    assert Column.from_json(through_json(value.to_json())) == value


@given(strategies.schemas)
def test_schemas(value: Schema) -> None:
    again = Schema.from_json(through_json(value.to_json()))
    assert again == value
    assert hash(again) == hash(value)


@given(strategies.table_names)
def test_table_names(value: TableName) -> None:
    assert TableName.from_json(through_json(value.to_json())) == value


@given(strategies.spans)
def test_spans(value: Span) -> None:
    assert Span.from_json(through_json(value.to_json())) == value


@given(strategies.identities)
def test_identities(value: Identity) -> None:
    assert Identity.from_json(through_json(value.to_json())) == value


@given(strategies.marks)
def test_marks(value: Mark) -> None:
    text = value.dumps()
    assert "\n" not in text
    assert Mark.loads(text) == Mark.loads(text.encode()) == value
    assert json.loads(text)["v"] == 1


def test_a_parked_key_keeps_what_json_has_no_form_for() -> None:
    keys = [(1, "a", b"\0", 1.5, cell) for cell in (math.inf, -math.inf, math.nan, None, True)]
    texts = [Parked(TableName("t"), key, "", Position("p")).dump_key() for key in keys]
    assert len(set(texts)) == len(keys)
    assert [Parked.load_key(text) for text in texts] == keys


def test_the_persisted_forms_stay_as_they_are() -> None:
    """Golden forms: a newer version reads what an older one has written."""
    text = '{"v":1,"stream":"s","paths":{"sales.t":["a","b"]}}'
    assert Mark("s", {"sales.t": ("a", "b")}).dumps() == text
    assert Mark.loads(text).path(TableName("t", "sales"), "c") == ("a", "b", "c")
    assert Mark.loads(text).path(TableName("t"), "c") == ("c",)
    assert Span(None, ("1", "x")).to_json() == [None, ["1", "x"]]
    assert TableName("t", "sales").to_json() == ["sales", "t"]
    column = {
        "name": "id",
        "type": {"kind": "decimal", "precision": 10, "scale": 2},
        "nullable": False,
        "default": "0",
        "generated": False,
        "identity": True,
    }
    assert Column.from_json(column).to_json() == column


@given(strategies.schemas)
def test_a_schema_without_a_fingerprint_is_read(value: Schema) -> None:
    """An earlier version has written none."""
    assert Schema.from_json(through_json(replace(value, fingerprint="f").to_json())).fingerprint == "f"
    members = through_json(value.to_json())
    del members["fingerprint"]
    assert Schema.from_json(members) == value
    assert Schema.from_json(members).fingerprint == ""


def test_an_identity_is_named_by_what_stays() -> None:
    one = Identity("postgres", "7001", "shop", "timeline 1")
    assert one.id == Identity("postgres", "7001", "shop", "timeline 2").id
    others = [
        Identity("sqlite", "7001", "shop"),
        Identity("postgres", "7001s", "hop"),
        Identity("p", "o", "s"),
    ]
    ids = {one.id, *(other.id for other in others)}
    assert len(ids) == 4
    assert all(len(name) == 12 and set(name) <= set("0123456789abcdef") for name in ids)


@given(strategies.identities, strategies.identities)
def test_a_stream_has_one_name(source: Identity, target: Identity) -> None:
    name = stream_name(source, target)
    assert name.isidentifier()
    assert name == name.lower()
    assert len(name) + len("_side") < 64
    if source.id != target.id:
        assert name != stream_name(target, source)
