"""Counts and order-free checksums that tell whether two stores hold the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..words import Kind
from .rows import Rows
from .schema import Schema

CANONICAL = "canonical-1"
"""The scheme that every connector has: rows are read and hashed here."""

_MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows, and the sum of their 128-bit hashes: equal sets of rows have equal digests."""

    count: int = 0
    checksum: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.count + other.count, (self.checksum + other.checksum) % _MODULUS)

    def __sub__(self, other: Digest) -> Digest:
        return Digest(self.count - other.count, (self.checksum - other.checksum) % _MODULUS)


def digest_rows(schema: Schema, parts: Iterable[Rows]) -> Digest:
    """The digest of rows in the format `arrow` by the scheme `canonical-1`; refused rows are counted only.

    A row's bytes are its cells in the order of the schema: `-` for NULL, else the length of the cell's
    canonical text in UTF-8 (of a byte cell as it is), `:` and that text; its hash is BLAKE2b of 16 bytes,
    read as a little-endian number. -0.0 and 0.0 differ, all NaN are one.
    """
    count, total = 0, 0
    for rows in parts:
        count += len(rows.refused)
        if not rows.count:
            continue
        cells = [_texts(rows.array(column.name), column.type.kind) for column in schema.stored]
        lines = pc.binary_join_element_wise(*cells, pa.scalar(b"", pa.binary())).to_pylist()
        blake = hashlib.blake2b
        total += sum(int.from_bytes(blake(line, digest_size=16).digest(), "little") for line in lines)
        count += rows.count
    return Digest(count, total % _MODULUS)


def _texts(array: pa.Array, kind: Kind) -> pa.Array:
    """Each cell as its length, a colon and its bytes, in one binary array."""
    if kind in (Kind.FLOAT32, Kind.FLOAT64):
        array = pc.if_else(pc.is_nan(array), "nan", pc.cast(array, pa.string()))
    elif kind is Kind.BOOL:
        array = pc.if_else(array, "true", "false")
    texts = array if kind is Kind.BYTES else pc.cast(pc.cast(array, pa.string()), pa.binary())
    lengths = pc.cast(pc.cast(pc.binary_length(texts), pa.string()), pa.binary())
    cells = pc.binary_join_element_wise(lengths, texts, pa.scalar(b":", pa.binary()))
    return pc.fill_null(cells, pa.scalar(b"-", pa.binary()))
