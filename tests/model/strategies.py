"""Everything that is persisted, drawn at random."""

from __future__ import annotations

from hypothesis import strategies as st

from syncline.model import (
    Column,
    ForeignKey,
    Identity,
    Index,
    Kind,
    Mark,
    Position,
    Schema,
    Span,
    State,
    TableName,
    TableState,
    Type,
)

texts = st.text(st.characters(codec="utf-8"), max_size=8)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
numbers = st.none() | st.integers(0, 1000)
table_names = st.builds(TableName, names, st.none() | names)
positions = st.builds(Position, names)
scalars = st.builds(
    Type,
    st.sampled_from([kind for kind in Kind if kind is not Kind.ARRAY]),
    length=numbers,
    precision=numbers,
    scale=numbers,
    labels=st.lists(texts, max_size=3).map(tuple),
    system=texts,
    name=texts,
)
types = st.recursive(scalars, lambda inner: st.builds(Type, st.just(Kind.ARRAY), element=inner), max_leaves=3)
columns = st.builds(
    Column,
    names,
    types,
    nullable=st.booleans(),
    default=st.none() | texts,
    generated=st.booleans(),
    identity=st.booleans(),
)
some_names = st.lists(names, min_size=1, max_size=3).map(tuple)
indexes = st.builds(
    Index,
    names,
    some_names,
    st.booleans(),
    portable=st.booleans(),
    constraint=st.booleans(),
    definition=texts,
)
foreign_keys = st.builds(
    ForeignKey, names, some_names, table_names, some_names, texts, texts, deferrable=st.booleans()
)
schemas = st.builds(
    Schema,
    table_names,
    st.lists(columns, max_size=4).map(tuple),
    some_names,
    texts,
    st.lists(indexes, max_size=2).map(tuple),
    st.lists(foreign_keys, max_size=2).map(tuple),
)
spans = st.builds(Span, *[st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple)] * 2)
identities = st.builds(Identity, names, names, texts, texts)
marks = st.builds(Mark, names, st.dictionaries(texts, st.lists(names, max_size=3).map(tuple), max_size=3))
states = st.builds(
    TableState,
    schemas,
    st.sampled_from(State),
    st.none() | positions,
    st.none() | positions,
    st.booleans(),
    st.booleans(),
    texts,
)
