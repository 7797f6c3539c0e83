"""The words of the project as values: types, schemas, rows, changes, batches, positions, spans, digests.

Nothing here does IO, and nothing here knows any one system. Everything that is persisted in a target
(schemas, states, spans, marks) has its JSON form here.
"""

from ..words import Kind, State
from .batch import Batch, Changes, Mark, SchemaChange, Segment, Sighting, Truncate
from .digest import CANONICAL, Digest, digest_rows
from .position import Identity, Lag, Position
from .problem import Problem, Severity, Writer
from .rows import ARROW, Key, Refusal, Rows
from .schema import Column, Deletes, ForeignKey, Index, Schema, TableName, Transformed
from .span import Span
from .state import Parked, SpanRecord, TableState
from .types import Type

__all__ = [
    "ARROW",
    "CANONICAL",
    "Batch",
    "Changes",
    "Column",
    "Deletes",
    "Digest",
    "ForeignKey",
    "Identity",
    "Index",
    "Key",
    "Kind",
    "Lag",
    "Mark",
    "Parked",
    "Position",
    "Problem",
    "Refusal",
    "Rows",
    "Schema",
    "SchemaChange",
    "Segment",
    "Severity",
    "Sighting",
    "Span",
    "SpanRecord",
    "State",
    "TableName",
    "TableState",
    "Transformed",
    "Truncate",
    "Type",
    "Writer",
    "digest_rows",
]
