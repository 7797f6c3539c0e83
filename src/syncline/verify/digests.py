"""Digests of one table at both ends of a stream, comparable whatever stands between the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow.compute as pc

from ..connector import Source, Store, Target
from ..model import CANONICAL, Deletes, Digest, Rows, Schema, Span, digest_rows


def digest_scheme(source: Store, target: Store, schema: Schema) -> str:
    """The first scheme that both stores have for this table."""
    if schema.transformed is not None:
        return CANONICAL
    known = target.capabilities.digests
    return next(scheme for scheme in source.capabilities.digests if scheme in known)


def digest(
    store: Store, source: Source, target: Target, schema: Schema, parked: Rows | None = None
) -> Digest:
    """The digest of what `store`, one of the two, holds of a table, the rows of `parked` keys left out.

    Columns that the target keeps for itself are not in it, nor are the target's rows that are marked as
    deleted, nor, where deletes are ignored, those that the source does not have."""
    scheme = CANONICAL if parked is not None and parked.count else digest_scheme(source, target, schema)
    if store is target and schema.deletes is not Deletes.APPLY:
        found = digest_rows(schema.compared, _kept(source, target, schema))
    else:
        found = store.digest(schema.compared, Span(), scheme)
    if parked is None or not parked.count:
        return found
    if store is target and schema.deletes is Deletes.IGNORE:
        parked = source.read_keys(schema, parked).select(schema.key)
    rows = store.read_keys(schema, parked)
    return found - digest_rows(schema.compared, [_alive(schema, rows)])


def _kept(source: Source, target: Target, schema: Schema) -> Iterator[Rows]:
    """The target's rows that stand for rows of the source."""
    if schema.deletes is Deletes.MARK:
        yield from (_alive(schema, rows) for rows in target.read(schema, Span()))
        return
    for rows in source.read(schema, Span()):
        yield target.read_keys(schema, rows.select(schema.key))


def _alive(schema: Schema, rows: Rows) -> Rows:
    """The rows that are not marked as deleted; those that cannot be read stay to be counted."""
    marked = schema.transformed.deleted_at if schema.transformed else ""
    if not marked:
        return rows
    alive = pc.indices_nonzero(pc.is_null(rows.array(marked)))
    return replace(rows.take(alive.to_pylist()), refused=rows.refused)
