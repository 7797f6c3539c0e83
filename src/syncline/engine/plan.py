"""Which tables take part in a run, and why others do not. Reads catalogs, touches nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..connector import Notice, Source, Target
from ..errors import Refused
from ..model import Schema, Sighting, State, TableName, TableState
from ..model.schema import lowered
from ..verify.compare import Finding, compare_at_rest
from .report import Options

Refuse = Callable[[TableName | None, Sequence[Refused]], None]
"""Takes all that is wrong with one table, or with what was asked for; a run is refused with it."""


def raise_at_once(table: TableName | None, errors: Sequence[Refused]) -> None:
    """Raise one error that tells all of it."""
    first, *more = errors
    if not more:
        raise first
    reasons = "; ".join(f"{error.reason}; {error.remedy}".rstrip("; ") for error in errors)
    raise Refused(first.operation, first.subject, reasons)


@dataclass(frozen=True, slots=True)
class NewTable:
    """A table that the stream does not have yet.

    `made`: the target has no such table, so Syncline makes it. `aside`: it is built beside the target's
    and takes its place. `adopted`: the target holds just these rows already, nothing is copied.
    """

    schema: Schema
    made: bool = False
    aside: bool = False
    adopted: bool = False

    @property
    def intention(self) -> str:
        """What a run would do with it."""
        if self.adopted:
            return "the target holds just these rows; nothing would be copied"
        if self.aside:
            return "built beside the target's table, then swapped"
        return "the table would be made" if self.made else "into the target's empty table"


@dataclass(slots=True)
class Plan:
    """The tables of a run: `known` of the stream, `new` to it, and `skipped` with the reasons."""

    known: dict[TableName, TableState] = field(default_factory=dict)
    new: list[NewTable] = field(default_factory=list)
    skipped: dict[TableName, Sequence[str]] = field(default_factory=dict)


def make_plan(
    source: Source,
    target: Target,
    tables: Mapping[TableName, TableState],
    options: Options,
    refuse: Refuse = raise_at_once,
    asked: Collection[TableName] = (),
    notice: Notice = lambda text: None,
) -> Plan:
    """Plan a run over what both catalogs say; `tables` are those that the stream has, in their states, and of
    those that it has not yet the `asked` ones give up the rows that the target holds.

    Refused, with everything that is wrong with the first table that cannot take part, unless `refuse`
    gathers such errors: a table asked for by its exact name that cannot be synced, no table at all, two
    tables that would be one at the target, a target table that does not fit or holds other rows (Promise 3:
    before anything runs). A table whose shape (Race 9) or fingerprint (Race 7) changed while it was being
    copied begins anew.
    """
    found = discover(source, target)
    had = {str(state.schema.source_table) for state in tables.values()}
    chosen, exact = _choose(found, options, source.name, refuse, had)
    _refuse_twins(chosen, lambda table: table, "", "rename one of them", refuse)
    by_name = {schema.table: schema for schema in [*found, *chosen]}
    anew = _find_outdated(source, by_name, tables.values())
    redone = {new.schema.table for new in anew}
    known = {table: state for table, state in tables.items() if table not in redone}
    other = _under_other_rules(known.values(), chosen, by_name, refuse)
    plan = Plan(known=_keep(known, other, options, asked, refuse))
    fit: list[Schema] = []
    for schema in chosen:
        if schema.table in plan.known or schema.table in redone:
            continue
        reasons = [schema.problem] if schema.problem else list(target.refusals(schema))
        subject = f"table {schema.source_table}"
        if not reasons:
            fit.append(schema)
        elif schema.table in exact:
            refuse(schema.table, [Refused("sync", subject, reason) for reason in reasons])
        else:
            plan.skipped[schema.table] = reasons
    placed = [*fit, *(state.schema for state in plan.known.values())]
    where, remedy = f" at {target.name}", "leave one out with --exclude"
    _refuse_twins(placed, target.place, where, remedy, refuse, lambda table: _folded(target, table))
    plan.new = [*anew, *_place(source, target, fit, options, refuse, asked, notice)]
    if not (plan.new or plan.known or fit) and (plan.skipped or not found):
        first = next(iter(plan.skipped.items()), None)
        told = f"none of its tables can be synced: {first[0]}: {'; '.join(first[1])}" if first else ""
        refuse(None, [Refused("sync", source.name, told or "it has no tables")])
    return plan


def _keep(
    known: Mapping[TableName, TableState],
    other: set[TableName],
    options: Options,
    asked: Collection[TableName],
    refuse: Refuse,
) -> dict[TableName, TableState]:
    """The tables of the stream that go on; `other` were made by other rules, and are refused unless their
    rows are given up."""
    given_up = other if options.replace else other & set(asked)
    if options.replace:
        given_up |= {table for table, state in known.items() if state.state in (State.FAILED, State.GAP)}
    if other - given_up:
        table = known[next(iter(other - given_up))].schema.source_table
        why = "its rows at the target were made by other rules"
        remedy = f"use {options.remedy(table if options.pipeline else None)} to copy it anew,"
        remedy += " or the rules as they were"
        refuse(table, [Refused("sync", f"table {table}", why, remedy)])
    return {table: state for table, state in known.items() if table not in given_up}


def _find_outdated(
    source: Source, by_name: Mapping[TableName, Schema], states: Collection[TableState]
) -> list[NewTable]:
    """The tables whose copy must begin anew: what is copied is not of the table as it is now, or was copied
    under other rules."""
    copying = [state for state in states if state.state is State.COPYING and state.schema.table in by_name]
    alike = [state for state in copying if not _differs(by_name[state.schema.table], state.schema)]
    seen = source.inspect([state.schema for state in alike])
    redone = {sight.table for sight in seen if not isinstance(sight, Sighting) or sight.description}
    return [
        NewTable(schema, made=True, aside=True)
        for state in copying
        for schema in [by_name[state.schema.table]]
        if state.floor is None or state not in alike or schema.table in redone
    ]


def discover(source: Source, target: Target) -> list[Schema]:
    """The source's schemas, as they are carried to this target."""
    found = list(source.discover())
    same_system = source.identity().system == target.identity().system
    return [source.native(schema) for schema in found] if same_system else found


def plan_anew(
    source: Source, target: Target, tables: Collection[TableName]
) -> tuple[list[NewTable], dict[TableName, str]]:
    """Tables of the stream in the shape that they have by now, to be built beside what they were before; and
    why that cannot be, of the others."""
    new: list[NewTable] = []
    reasons = dict.fromkeys(tables, "the source has no such table any more")
    for schema in discover(source, target):
        if schema.table not in tables:
            continue
        refusals = target.refusals(schema)
        reasons[schema.table] = (
            schema.problem or (refusals[0] if refusals else "") or target.replaceable(schema)
        )
        if not reasons[schema.table]:
            new.append(NewTable(schema, made=True, aside=True))
    return new, {table: reason for table, reason in reasons.items() if reason}


def is_chosen(schema: Schema, options: Options) -> bool:
    """Whether the globs mean a table."""
    table = schema.source_table
    named = not options.tables or any(_means(pattern, table) for pattern in options.tables)
    return named and not any(table.matches(pattern) for pattern in options.exclude)


def _means(pattern: str, table: TableName) -> bool:
    return table.matches(pattern) or str(table) == pattern


def _choose(
    schemas: Sequence[Schema], options: Options, name: str, refuse: Refuse, had: Collection[str]
) -> tuple[list[Schema], set[TableName]]:
    """The schemas that the globs mean, and the tables among them that were asked for by name. One of those
    that the stream `had` may be gone: it stops by name, and the others go on."""
    exact: set[TableName] = set()
    chosen: list[Schema] = []
    for pattern in options.tables:
        matching = [schema for schema in schemas if schema.source_table.matches(pattern)]
        plain = not any(character in pattern for character in "*?[")
        by_name = [schema for schema in schemas if str(schema.source_table) == pattern]
        if plain and not by_name and pattern not in had:
            near = difflib.get_close_matches(pattern, [str(schema.source_table) for schema in schemas], 1)
            remedy = f"did you mean {near[0]}?" if near else f"it has {_some(schemas)}"
            refuse(None, [Refused("sync", f"table {pattern}", f"{name} has no such table", remedy)])
        exact.update(schema.table for schema in by_name)
        chosen += [schema for schema in matching or by_name if schema not in chosen]
    if not options.tables:
        chosen = list(schemas)
    left = [
        schema
        for schema in chosen
        if not any(schema.source_table.matches(pattern) for pattern in options.exclude)
    ]
    if (options.tables or options.exclude) and not left:
        why = "no table matches --tables and --exclude"
        refuse(None, [Refused("sync", name, why, f"it has {_some(schemas)}")])
    return left, exact


def _some(schemas: Sequence[Schema]) -> str:
    names = [str(schema.source_table) for schema in schemas]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "no tables"


def _refuse_twins(
    schemas: Iterable[Schema],
    place: Callable[[TableName], TableName],
    where: str,
    remedy: str,
    refuse: Refuse,
    fold: Callable[[TableName], TableName] = lambda table: table,
) -> None:
    """Refuse two tables of the source that would be one, as rules name them or as the target does; `fold`
    gives the same for all names that are one there."""
    sources: dict[TableName, TableName] = {}
    for schema in schemas:
        mine, placed = schema.source_table, place(schema.table)
        other = sources.setdefault(fold(placed), mine)
        if other != mine:
            subject = f"tables {other} and {mine}"
            refuse(mine, [Refused("sync", subject, f"both would be {placed}{where}", remedy)])


def _under_other_rules(
    known: Iterable[TableState],
    chosen: Iterable[Schema],
    found: Mapping[TableName, Schema],
    refuse: Refuse,
) -> set[TableName]:
    """The tables of the stream whose rows at the target were made by other rules than this run's. Refused
    when this run gives one another name: the stream can hold it but once."""
    others: set[TableName] = set()
    names = {schema.source_table: schema.table for schema in chosen}
    for state in known:
        schema = state.schema
        name = names.get(schema.source_table, schema.table)
        if name != schema.table:
            subject = f"table {schema.source_table}"
            why = f"the stream has it as {schema.table}, and it would be {name}"
            remedy = "take the stream away with --remove first, or give the rules as they were"
            refuse(schema.source_table, [Refused("sync", subject, why, remedy)])
            continue
        now = found.get(schema.table)
        if now is not None and not now.problem and _rules(now) != _rules(schema):
            others.add(schema.table)
    return others


def _differs(now: Schema, then: Schema) -> bool:
    """Whether a copy that was begun would go on in another shape."""
    return now.stored != then.stored or _rules(now) != _rules(then)


def _rules(schema: Schema) -> tuple[TableName, str]:
    return schema.source_table, schema.transformed.rules if schema.transformed else ""


def _folded(target: Target, table: TableName) -> TableName:
    """The same for all names that mean one table at the target."""
    if not target.capabilities.folds_case:
        return table
    return TableName(lowered(table.name), table.schema and lowered(table.schema))


def _place(
    source: Source,
    target: Target,
    schemas: Sequence[Schema],
    options: Options,
    refuse: Refuse,
    asked: Collection[TableName],
    notice: Notice,
) -> list[NewTable]:
    """How each new table comes to the target."""
    existing = {_folded(target, schema.table) for schema in target.discover()}
    new: list[NewTable] = []
    for schema in schemas:
        try:
            chosen = replace(options, replace=options.replace or schema.table in asked)
            new.append(_placed(source, target, schema, existing, chosen, notice))
        except Refused as error:
            refuse(schema.table, [error])
    return new


def _placed(
    source: Source,
    target: Target,
    schema: Schema,
    existing: Collection[TableName],
    options: Options,
    notice: Notice,
) -> NewTable:
    """How one new table comes to the target; Refused when it cannot."""
    subject = f"table {schema.table}"
    if _folded(target, target.place(schema.table)) not in existing:
        if why := target.mismatch(schema):
            taken = f"{target.place(schema.table)} is no table at {target.name}: {why}"
            raise Refused("sync", subject, taken, "rename that, or leave the table out with --exclude")
        return NewTable(schema, made=True)
    if options.replace:
        if why := target.replaceable(schema):
            raise Refused("replace", subject, why)
        return NewTable(schema, made=True, aside=True)
    if why := target.mismatch(schema):
        remedy = f"use {options.remedy(schema.source_table if options.pipeline else None)}"
        if statement := target.alteration(schema):
            remedy = f"run {statement}, or {remedy}"
        raise Refused("sync", subject, f"the target's table differs: {why}", remedy)
    if not target.holds_rows(schema):
        return NewTable(schema)
    notice(f"comparing table {schema.source_table} with the rows that {target.name} holds already")
    if compare_at_rest(source, target, [schema])[schema.table] is Finding.EQUAL:
        return NewTable(schema, adopted=True)
    raise Refused(
        "sync",
        subject,
        f"{target.name} holds other rows in {target.place(schema.table)}",
        f"use {options.remedy(schema.source_table if options.pipeline else None)} to build it anew beside"
        " them and swap, or empty it",
    )
