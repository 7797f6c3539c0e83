"""Cuts the log into batches; no IO.

In: pgoutput's messages and the walsender's positions. Out: batches of whole transactions that follow one
another without gaps, pieces of a transaction that is larger than a batch, and the end at a position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import pyarrow as pa

from ...errors import Corruption
from ...model import Batch, Changes, Column, Mark, Rows, Schema, SchemaChange, Segment, TableName, Truncate
from ...model.batch import Path
from .codec import column_from_text
from .lsn import format_lsn
from .pgoutput import Begin, Collected, Commit, Decoder, Message, Relation, Truncated
from .replication import Frame, Keepalive

MARK_PREFIX: Final = "syncline"
CANARY_PREFIX: Final = "syncline.canary"

Judge = Callable[[Schema, Relation], SchemaChange | None]
"""Says what became of a table's columns; None when the relation has the schema's, in their order."""

_Part = Collected | Truncated | SchemaChange


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a schema's carried columns, and its key's, stand in the rows of a relation."""

    columns: tuple[int, ...]
    key: tuple[int, ...]


def lay_out(schema: Schema, relation: Relation) -> Layout:
    """The places of the schema's columns in a relation that has them."""
    places = {column.name: place for place, column in enumerate(relation.columns)}
    return Layout(
        tuple(places[name] for name in schema.names),
        tuple(places[name] for name in schema.key),
    )


def misidentified(schema: Schema, relation: Relation) -> str:
    """In one clause why rows of the relation cannot be told by the schema's key; '' when they can."""
    identity = {column.name for column in relation.columns if column.identity}
    if relation.identity == "f" or identity == set(schema.key):
        return ""
    told = ", ".join(sorted(identity)) or "nothing"
    return f"its rows are identified by {told} instead of {', '.join(schema.key)}"


class Cutter:
    """Takes the log in and gives batches out.

    `tables` maps the server's (namespace, name) to schemas. Transactions at or before `after` are dropped
    (the server may repeat them), and nothing after `until` is given out: `finished` is true once all up to
    there has been taken in. `position` is the end of what was taken in whole.
    """

    def __init__(
        self,
        tables: Mapping[tuple[str, str], Schema],
        judge: Judge,
        *,
        stream: str,
        own: str,
        skip: str,
        after: int,
        until: int | None,
        max_bytes: int,
    ) -> None:
        self.position = after
        self.finished = False
        self._wanted, self._judge = dict(tables), judge
        self._stream, self._own, self._skip = stream, own, skip
        self._start, self._until, self._max_bytes = after, until, max(max_bytes, 1)
        self._decoder = Decoder()
        self._relations: dict[int, Relation] = {}
        self._schemas: dict[int, Schema] = {}
        self._shapes: dict[Relation, Schema] = {}
        self._stopped: set[TableName] = set()
        # The transaction that is being read.
        self._mark: Mark | None = None
        self._number: int | None = None
        self._dropping = self._piecemeal = False
        self._transaction: list[_Part] = []
        # The whole transactions that wait to be cut.
        self._parts: list[_Part] = []
        self._open: dict[int, Collected] = {}
        self._paths: dict[TableName, Path] = {}
        self._nbytes = self._transactions = 0
        self._canary: int | None = None
        self._last = after

    @property
    def waiting(self) -> bool:
        """Whether a batch that is cut now would tell what somebody waits for."""
        return bool(self._parts) or self._canary is not None

    @property
    def moved(self) -> bool:
        """Whether a batch that is cut now would tell anything new."""
        return bool(self._parts) or self.position > self._last

    def feed(self, frames: list[Frame]) -> Iterator[Batch]:
        """Take frames in, up to the end at a position; the batches that are full or must end because of
        them. Corruption for what no server sends."""
        at = 0
        while not self.finished:
            at = self._decoder.collect(frames, at, self._max_bytes - self._nbytes)
            if at == len(frames):
                return
            frame = frames[at]
            if isinstance(frame, Keepalive):
                self.pass_by(frame.end)
            elif self._nbytes + self._decoder.nbytes >= self._max_bytes and frame[:1] != b"C":
                # Only when a further row comes is it certain that a piece is not the last one.
                yield from self._overflow()
                continue
            else:
                yield from self._take(frame)
            at += 1

    def _take(self, message: bytes) -> Sequence[Batch]:
        match self._decoder.feed(message):
            case Begin() as begin:
                self._begin(begin)
            case Commit() as commit:
                return self._commit(commit)
            case Relation() as relation:
                self._relate(relation)
            case Message(transactional=True, prefix=prefix) as message_ if prefix == MARK_PREFIX:
                self._read_mark(message_)
            case Message(transactional=True, prefix=prefix) as message_ if prefix == CANARY_PREFIX:
                stream, _, number = message_.content.decode(errors="replace").partition(" ")
                if stream == self._stream and number.isdecimal():
                    self._number = int(number)
        return ()

    def stop(self, table: TableName, description: str, *, lasting: bool = True) -> None:
        """Tell a schema change that the log itself does not; nothing more of that table is given out."""
        if table in self._stopped:
            return
        self._ignore(table)
        self._tell(SchemaChange(table, description, lasting=lasting))

    def _ignore(self, table: TableName) -> None:
        self._stopped.add(table)
        for relation, schema in self._schemas.items():
            if schema.table == table:
                self._decoder.ignore(relation)

    def _tell(self, change: SchemaChange) -> None:
        if self._decoder.within:
            self._transaction += self._decoder.take()
            self._transaction.append(change)
        else:
            self._gather([change])

    def pass_by(self, end: int) -> None:
        """The walsender has sent everything up to `end`."""
        if self._decoder.within:
            return
        self.position = max(self.position, end)
        if self._until is not None and self.position >= self._until:
            self.position, self.finished = self._until, True

    def cut(self) -> Batch:
        """A batch of what waits, perhaps empty; a piece while a transaction is given out in pieces."""
        batch = Batch(
            after=format_lsn(self._last),
            upto=format_lsn(self.position),
            segments=tuple(segment for part in self._parts for segment in self._segments(part)),
            complete=not self._piecemeal,
            transactions=self._transactions,
            log_bytes=self.position - self._last,
            canary=self._canary,
        )
        self._last, self._canary = self.position, None
        self._parts, self._open, self._paths = [], {}, {}
        self._nbytes = self._transactions = 0
        return batch

    def _begin(self, begin: Begin) -> None:
        if self._until is not None and begin.commit_lsn >= self._until:
            self.position, self.finished = max(self.position, self._until), True
        self._mark = self._number = None
        self._dropping = begin.commit_lsn < self._start
        self._mute()

    def _commit(self, commit: Commit) -> Sequence[Batch]:
        size = self._decoder.nbytes
        parts = [*self._transaction, *self._decoder.take()]
        self._transaction = []
        if self._until is not None and commit.end_lsn > self._until and not self._piecemeal:
            self.position, self.finished = max(self.position, self._until), True
            return ()
        ready: list[Batch] = []
        if self._parts and (self._clashes(parts) or self._nbytes + size > self._max_bytes):
            ready.append(self.cut())
        self._gather(parts)
        self.position = max(self.position, commit.end_lsn)
        self._canary = self._number or self._canary
        self._transactions += bool(parts)
        if self._piecemeal or self._nbytes >= self._max_bytes:
            self._piecemeal = False
            ready.append(self.cut())
        if self._until is not None and self.position >= self._until:
            self.finished = True
        return ready

    def _overflow(self) -> Sequence[Batch]:
        """Make room for more of a transaction. Whole ones go out by themselves; one goes in pieces only
        when it alone is as large as a batch."""
        ready: list[Batch] = []
        if self._parts:
            ready.append(self.cut())
        if self._decoder.nbytes >= self._max_bytes:
            self._gather([*self._transaction, *self._decoder.take()])
            self._transaction = []
            self._piecemeal = True
            ready.append(self.cut())
        return ready

    def _read_mark(self, message: Message) -> None:
        # A mark is the first thing in its transaction: whatever stands later is not one of ours.
        if self._mark is not None or self._decoder.parts or self._piecemeal:
            return
        try:
            self._mark = Mark.loads(message.content)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            where = format_lsn(message.lsn)
            raise Corruption("read", f"the mark at {where}", f"it is not one ({error})") from None
        self._mute()

    def _mute(self) -> None:
        """Choose the tables whose rows in this transaction are not wanted (Race 16)."""
        muted: set[int] = set()
        if self._dropping:
            muted.update(self._schemas)
        elif self._mark is not None:
            muted.update(
                relation
                for relation, schema in self._schemas.items()
                if self._skip in self._path(schema.table)
            )
        self._decoder.mute(muted)

    def _path(self, table: TableName) -> Path:
        return self._mark.path(table, self._own) if self._mark is not None else (self._own,)

    def _relate(self, relation: Relation) -> None:
        """Take a table's shape in. When it is not the schema's any more the change is told before the rows
        that come in it, and the table goes on in the new shape or stops (Promise 4)."""
        before = self._relations.get(relation.id)
        schema = self._wanted.get((relation.namespace, relation.name))
        if before == relation or (schema is None and before is None):
            return
        if before is not None and schema is not self._schemas[relation.id]:
            self.stop(self._schemas[relation.id].table, f"it was renamed to {relation.name}")
        if schema is None or schema.table in self._stopped:
            return
        twin = next((i for i, other in self._schemas.items() if other is schema and i != relation.id), None)
        if twin is not None:
            self.stop(schema.table, "it was dropped and made anew", lasting=False)
            return
        self._relations[relation.id], self._schemas[relation.id] = relation, schema
        change = self._judge(schema, relation)
        now = schema if change is None else change.schema
        if now is not None and (why := misidentified(now, relation)):
            change = SchemaChange(schema.table, why, lasting=True)
        if now is None or (change is not None and change.lasting):
            self._ignore(schema.table)
        else:
            self._watch(relation, now)
        if change is not None:
            self._tell(change)

    def _watch(self, relation: Relation, schema: Schema) -> None:
        """From here on rows of the relation are of this schema."""
        self._wanted[relation.namespace, relation.name] = self._schemas[relation.id] = schema
        self._shapes[relation] = schema
        self._decoder.watch(relation, lay_out(schema, relation).key)
        self._mute()

    def _tables(self, part: _Part) -> tuple[TableName, ...]:
        match part:
            case Collected():
                return (self._schemas[part.relation.id].table,)
            case Truncated():
                return tuple(self._schemas[relation].table for relation in part.relations)
        return ()

    def _clashes(self, parts: Sequence[_Part]) -> bool:
        """Whether these parts bring another path for a table than what waits."""
        tables = {table for part in parts for table in self._tables(part)}
        return any(self._paths.get(table, path) != path for table in tables for path in [self._path(table)])

    def _gather(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            self._paths |= {table: self._path(table) for table in self._tables(part)}
            if isinstance(part, Collected):
                self._nbytes += part.nbytes
                earlier = self._open.get(part.relation.id)
                if earlier is not None and earlier.relation is part.relation:
                    earlier.extend(part)
                    continue
                self._open[part.relation.id] = part
            else:
                self._open.clear()
            self._parts.append(part)

    def _segments(self, part: _Part) -> list[Segment]:
        match part:
            case SchemaChange():
                return [part]
            case Truncated():
                by_path: dict[Path, list[TableName]] = {}
                for table in self._tables(part):
                    by_path.setdefault(self._paths[table], []).append(table)
                return [Truncate(tuple(tables), path) for path, tables in by_path.items()]
        schema = self._shapes[part.relation]
        return [_changes(schema, part, self._paths[schema.table])]


def _changes(schema: Schema, collected: Collected, path: Path) -> Changes:
    """The columns of what was collected, as the schema orders and types them."""
    layout = lay_out(schema, collected.relation)
    columns = collected.read()
    return Changes(
        table=schema.table,
        kinds=columns.kinds,
        before=_rows(schema.key_columns, columns.before, columns.before_unsent),
        after=_rows(
            schema.stored,
            [columns.after[place] for place in layout.columns],
            [columns.after_unsent[place] for place in layout.columns],
        ),
        path=path,
    )


def _rows(columns: Sequence[Column], cells: Sequence[pa.Array], unsent: Sequence[pa.Array | None]) -> Rows:
    arrays = [column_from_text(array, column.type) for array, column in zip(cells, columns, strict=True)]
    return Rows.of([column.name for column in columns], arrays, unsent)
