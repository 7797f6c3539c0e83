"""MySQL's binary JSON, compiled and not: the same text, the same corruption. Real documents are with the
tests of real servers."""

from __future__ import annotations

import json
import struct
from array import array
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.errors import Corruption

from .both import FORMS, kernel

READERS = {form: kernel("binjson", form) for form in FORMS}
BOTH = pytest.mark.parametrize("reader", READERS.values(), ids=FORMS)


def encoded(value: Any, wide: bool) -> tuple[int, bytes]:
    """A value as its type and bytes; containers in the form of 2 or of 4 bytes a number."""
    if value is None or isinstance(value, bool):
        return 4, bytes([0 if value is None else 1 if value else 2])
    if isinstance(value, int):
        kinds = [(5, "<h"), (7, "<i"), (9, "<q")] if value < 2**63 else [(10, "<Q")]
        for kind, form in kinds:
            try:
                return kind, struct.pack(form, value)
            except struct.error:
                continue
    if isinstance(value, float):
        return 11, struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode()
        return 12, varying(len(text)) + text
    return (0 if isinstance(value, dict) else 2) + wide, container(value, wide)


def varying(size: int) -> bytes:
    data = b""
    while size > 0x7F:
        data += bytes([size & 0x7F | 0x80])
        size >>= 7
    return data + bytes([size])


def container(value: Any, wide: bool) -> bytes:
    number, size = ("<I", 4) if wide else ("<H", 2)
    keys = [key.encode() for key in value] if isinstance(value, dict) else []
    members = list(value.values()) if isinstance(value, dict) else value
    start = 2 * size + len(keys) * (size + 2) + len(members) * (1 + size)
    named = b""
    for at, key in enumerate(keys):
        named += struct.pack(number, start + sum(map(len, keys[:at]))) + struct.pack("<H", len(key))
    entries, values = b"", b"".join(keys)
    for member in members:
        kind, data = encoded(member, wide)
        if kind in (4, 5) or (wide and kind == 7):
            entries += bytes([kind]) + data.ljust(size, b"\0")
        else:
            entries += bytes([kind]) + struct.pack(number, start + len(values))
            values += data
    head = struct.pack(number, len(members)) + struct.pack(number, start + len(values))
    return head + named + entries + values


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abü\n", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def read(reader: ModuleType, documents: list[bytes]) -> object:
    offsets = array("i", [0])
    for document in documents:
        offsets.append(offsets[-1] + len(document))
    try:
        made, payload = reader.texts(offsets, bytearray(b"".join(documents)))
    except Corruption as error:
        return str(error)
    return [bytes(payload[made[at] : made[at + 1]]) for at in range(len(documents))]


@given(st.lists(values, max_size=3), st.booleans())
@settings(max_examples=100)
def test_documents_are_written_as_they_were_meant(documents: list[Any], wide: bool) -> None:
    data = [bytes([kind]) + part for kind, part in (encoded(document, wide) for document in documents)]
    compiled, uncompiled = (read(reader, data) for reader in READERS.values())
    assert compiled == uncompiled
    assert isinstance(compiled, list)
    assert [json.loads(text) for text in compiled] == documents


@given(values, st.booleans(), st.data())
@settings(max_examples=200)
def test_broken_documents_are_the_same_corruption_in_both(
    value: Any, wide: bool, data: st.DataObject
) -> None:
    kind, part = encoded(value, wide)
    broken = bytearray([kind]) + part
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 12, 15, 127, 128, 255]))
        del broken[data.draw(st.integers(place, len(broken))) + 1 :]
    compiled, uncompiled = (read(reader, [bytes(broken)]) for reader in READERS.values())
    assert compiled == uncompiled


@given(st.binary(min_size=1, max_size=80))
@settings(max_examples=300)
def test_random_bytes_are_the_same_in_both(data: bytes) -> None:
    for lead in (b"", b"\0", b"\2", b"\3", b"\x0f\xf6"):
        compiled, uncompiled = (read(reader, [lead + data]) for reader in READERS.values())
        assert compiled == uncompiled


@BOTH
def test_a_document_cannot_tell_a_part_of_itself_again_and_again(reader: ModuleType) -> None:
    """Forty arrays within another, each told twice, would be 2 to the 40 values."""
    inner = container([1], False)
    for _ in range(40):
        data = bytearray(struct.pack("<HH", 2, 10 + len(inner)))
        data += b"\2" + struct.pack("<H", 10) + b"\2" + struct.pack("<H", 10)
        inner = bytes(data) + inner
    assert "a value within another" in str(read(reader, [b"\2" + inner]))


@BOTH
def test_depth_is_bounded_as_the_server_bounds_it(reader: ModuleType) -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    assert read(reader, [b"\2" + container(value, False)]) == [b"[" * 100 + b"1" + b"]" * 100]
    assert "more than 100 levels" in str(read(reader, [b"\2" + container([value], False)]))
