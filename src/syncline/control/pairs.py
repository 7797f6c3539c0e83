"""What a command works on: a pipeline of the configuration, by its name, or two stores, FROM and TO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Refused
from .project import Project, open_project

if TYPE_CHECKING:
    from ..engine.report import Options

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""What a pipeline may be called; no store reference looks so."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and a target, as store references, and how they are kept equal. `project` is the
    configuration that says so; None for two stores that were named themselves."""

    source: str
    target: str
    options: Options
    project: Project | None = None

    @property
    def name(self) -> str:
        """How a command line names it."""
        return self.options.pipeline or "FROM TO"


def resolve(words: Sequence[str], command: str, config: Path | None = None) -> tuple[Pair, list[str]]:
    """The pair that the first words name, and the words after it: one word when it is a pipeline's name, else
    two, FROM and TO. Refused when they name none; opens no store."""
    count = _count(words)
    if len(words) < count:
        raise _misnamed(words, command)
    if count == 1:
        return pair_of(open_project(config), words[0]), list(words[1:])
    from ..engine.report import Options

    return Pair(words[0], words[1], Options()), list(words[2:])


def resolve_alone(words: Sequence[str], command: str, config: Path | None = None) -> Pair:
    """As `resolve`, for a command that takes nothing else."""
    if len(words) != _count(words):
        raise _misnamed(words, command)
    return resolve(words, command, config)[0]


def pair_of(project: Project, name: str) -> Pair:
    """A pipeline of a configuration, with what its section asks for. Refused for an unknown name."""
    from ..engine.report import Options
    from .units import parse_rate

    (section,) = project.pipelines([name]).values()
    options = Options(
        tables=tuple(section.include),
        exclude=tuple(section.exclude),
        pipeline=name,
        pipelines=tuple(project.configuration.pipelines),
        keep=True,
        compare=section.compare,
        workers=section.workers,
        rate_limit=parse_rate(section.rate_limit) if section.rate_limit else None,
        schema=section.schema_policy,
        rules={table: rules.rules() for table, rules in section.tables.items()},
    )
    return Pair(project.reference(section.source), project.reference(section.target), options, project)


def _count(words: Sequence[str]) -> int:
    """How many words name a pair that begins so."""
    return 1 if words and _NAME.fullmatch(words[0]) else 2


def _misnamed(words: Sequence[str], command: str) -> Refused:
    given = f"{len(words)} word{' was' if len(words) == 1 else 's were'} given"
    why = f"{command} takes two databases, FROM and TO, or one pipeline; {given}"
    return Refused("read", "the command line", why, f"see syncline {command} --help")
