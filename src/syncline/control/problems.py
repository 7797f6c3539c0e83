"""What is wrong with a configuration: each problem with its line, one sentence and what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .lines import line_of
from .model import Configuration, PipelineSection

Path = tuple[str | int, ...]
Told = tuple[str, str]
"""A reason and a remedy."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong on a line of the file."""

    line: int
    reason: str
    remedy: str


def check(text: str) -> tuple[Configuration | None, list[Problem]]:
    """The configuration that a text holds, or None, and everything that is wrong, by line."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_not_toml(str(error), text)]
    configuration: Configuration | None = None
    try:
        configuration = Configuration.model_validate(document)
        found = list(_contradictions(configuration))
    except ValidationError as error:
        details = {_path(detail["loc"]): detail for detail in error.errors()}
        found = [(path, *_explain(detail, path)) for path, detail in details.items()]
    problems = [Problem(line_of(text, path), reason, remedy) for path, reason, remedy in found]
    return configuration, sorted(problems, key=lambda problem: problem.line)


def _not_toml(message: str, text: str) -> Problem:
    place = re.search(r" \(at line (\d+), column \d+\)", message)
    line = int(place[1]) if place else text.count("\n") + 1  # else it says 'at end of document'
    why = re.sub(r" \(at [^)]*\)", "", message)
    remedy = "put texts into quotes, and each table's name into [brackets]"
    return Problem(line, f"it is not TOML: {why[:1].lower()}{why[1:]}", remedy)


def _path(loc: tuple[int | str, ...]) -> Path:
    """pydantic's place of an error, without the mark of a key. Of a value that may have several forms it
    tells what is wrong with it as each of them: here it is one error of that value."""
    if len(loc) > _FORM and loc[2] == "tables" and loc[4] in _FORMS:
        return loc[: _FORM + 1]
    return loc[:-1] if loc[-1] == "[key]" else loc


def _explain(detail: Any, path: Path) -> Told:
    """A sentence, and what to do, for an error of pydantic's."""
    kind, key, context = detail["type"], str(path[-1]), detail.get("ctx", {})
    if len(path) > _FORM and path[4] in _FORMS:
        return f"{_subject(path)}: it has none of the forms that it may have", _FORMS[path[4]]
    if detail["loc"][-1] == "[key]":
        remedy = "use letters, digits, - and _, with a letter first, 60 at most"
        return f'"{key}" cannot be a name in {_dotted(path[:-1])}', remedy
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        where = _dotted(path[:-1])
        return f'"{key}" is missing in {where}', f'add {key} = "…" below [{where}]'
    subject = _subject(path)
    if kind == "value_error":
        reason, _, remedy = str(context["error"]).partition("; ")
        return f"{subject}: {reason}", remedy
    if kind == "literal_error":
        wanted = re.findall(r"'(\w+)'", context["expected"])
        near = get_close_matches(str(detail["input"]), wanted, 1)
        return f"{subject} must be {' or '.join(wanted)}", f"did you mean {near[0]}?" if near else ""
    return f"{subject} must be {_wanted(kind, context)}", _REMEDIES.get(kind, "")


_FORM = 5
_FORMS: dict[str | int, str] = {
    "mask": 'write "null", { hash = "env:NAME" }, { fixed = "x" } or { keep_first = 1, keep_last = 2 }',
    "constants": "write a text in quotes, a number, true or false",
}
"""Keys of pipelines.NAME.tables.TABLE whose values have several forms, one a column."""

_REMEDIES = {
    "string_type": 'put it into quotes: "…"',
    "list_type": 'write it like ["orders", "sales.*"]',
    "tuple_type": 'write it like ["id", "total"]',
    "bool_type": "write it without quotes",
    "int_type": "write it without quotes",
}


def _wanted(kind: str, context: dict[str, Any]) -> str:
    """What a value must be, for the kinds of error that name no more than that."""
    names = {
        "string_type": "a text",
        "string_too_short": "a text that is not empty",
        "list_type": "a list of texts",
        "tuple_type": "a list of texts",
        "too_short": "a list that is not empty",
        "mapping_type": "a table",
        "bool_type": "true or false",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "greater_than_equal": f"{context.get('ge')} or more",
        "less_than_equal": f"{context.get('le')} or less",
        "dict_type": "a table",
        "model_type": "a table",
        "model_attributes_type": "a table",
    }
    return names.get(kind, f"something else ({kind})")


def _unknown(path: Path) -> Told:
    known = sorted(_keys_at(path[:-1]))
    key, where = str(path[-1]), _dotted(path[:-1])
    near = get_close_matches(key, known, 1)
    place = f" in {where}" if where else ""
    remedy = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
    return f'unknown key "{key}"{place}', remedy


def _keys_at(path: Path) -> list[str]:
    """The keys that the table at a path may have."""
    kind: Any = Configuration
    for key in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
            kind = fields.get(str(key))
            if get_origin(kind) is UnionType:  # a section that may be absent
                kind = get_args(kind)[0]
        elif get_origin(kind) in (dict, Mapping):
            kind = get_args(kind)[1]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return []


def _dotted(path: Path) -> str:
    return ".".join(f'"{key}"' if "." in str(key) else str(key) for key in path)


def _subject(path: Path) -> str:
    """`workers in pipelines.orders`; of a list, its key: the line shows which."""
    keys = [key for key in path if isinstance(key, str)]
    where = _dotted(tuple(keys[:-1]))
    return f"{keys[-1]} in {where}" if where else keys[-1]


def _contradictions(configuration: Configuration) -> Iterator[tuple[Path, str, str]]:
    """What is wrong though every value is fine by itself."""
    for name, pipeline in configuration.pipelines.items():
        for key, end in (("from", pipeline.source), ("to", pipeline.target)):
            if ":" not in end and end not in configuration.stores:
                stores = configuration.stores
                near = get_close_matches(end, stores, 1)
                remedy = f"did you mean {near[0]}?" if near else f'add {end} = "…" below [stores]'
                path = ("pipelines", name, key)
                yield path, f'{_subject(path)}: there is no store "{end}"', remedy
        if _same_store(configuration, pipeline.source, pipeline.target):
            yield ("pipelines", name, "to"), f"pipelines.{name} has one store at both ends", "name two"
    for (first, one), (second, other) in combinations(configuration.pipelines.items(), 2):
        if not all(
            _same_store(configuration, *pair)
            for pair in ((one.source, other.source), (one.target, other.target))
        ):
            continue
        if table := _shared(one, other):
            reason = f"pipelines {first} and {second} both sync {table} between the same two stores"
            yield ("pipelines", second), reason, "leave it out of one of them with exclude"


def _same_store(configuration: Configuration, one: str, other: str) -> bool:
    stores = configuration.stores
    return stores.get(one, one) == stores.get(other, other)


def _shared(one: PipelineSection, other: PipelineSection) -> str:
    """A table that both are sure to mean, as far as their words tell; the worker looks at the real ones."""
    names = [name for name in (*one.include, *other.include) if not any(letter in name for letter in "*?[")]
    shared = next((name for name in names if _means(one, name) and _means(other, name)), "")
    if shared:
        return f"table {shared}"
    open_ended = not (one.include or other.include or one.exclude or other.exclude)
    return "every table" if open_ended else ""


def _means(pipeline: PipelineSection, name: str) -> bool:
    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return (not pipeline.include or matches(pipeline.include)) and not matches(pipeline.exclude)
