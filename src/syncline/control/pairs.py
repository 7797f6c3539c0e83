"""What a command works on: a pipeline of the configuration, by its name, or two stores, FROM and TO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Refused
from .project import Project, open_project
from .service import asked_of

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
    if words and _NAME.fullmatch(words[0]):
        project = open_project(config)
        return pair_of(project, words[0]), list(words[1:])
    if len(words) < 2:
        why = "it takes PIPELINE, or two databases, FROM and TO"
        raise Refused("read", "the command line", why, f"see syncline {command} --help")
    from ..engine.report import Options

    return Pair(words[0], words[1], Options()), list(words[2:])


def resolve_alone(words: Sequence[str], command: str, config: Path | None = None) -> Pair:
    """As `resolve`, for a command that takes nothing else."""
    pair, rest = resolve(words, command, config)
    if rest:
        why = f"{command} takes PIPELINE, or two databases, FROM and TO, and {len(words)} words were given"
        raise Refused("read", "the command line", why, f"see syncline {command} --help")
    return pair


def pair_of(project: Project, name: str) -> Pair:
    """A pipeline of a configuration. Refused for an unknown name."""
    return Pair(*asked_of(project, name), project)
