"""A configuration file, read and checked, and the folder that belongs to it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import Refused

if TYPE_CHECKING:
    from .model import Configuration, PipelineSection

FILE = "syncline.toml"
VARIABLE = "SYNCLINE_CONFIG"


class Misconfigured(Refused):
    """A configuration that cannot be used; `problems` are all that is wrong with it, each a whole message,
    the error itself is the first of them."""

    problems: Sequence[str] = ()

    @property
    def code(self) -> str:
        """It is one kind of refusal."""
        return "refused"


@dataclass(frozen=True, slots=True)
class Project:
    """A configuration and where it stands.

    Relative paths in it, and those of SQLite URLs, start at `folder`; workers run there. `room` is the
    folder of the machine's own files: the default state database, logs and locks. It follows from the
    file's path, so that two files with pipelines of the same names do not meet.
    """

    path: Path
    configuration: Configuration
    text: str
    """What stood in the file."""

    @property
    def folder(self) -> Path:
        """Where the file is."""
        return self.path.parent

    @property
    def room(self) -> Path:
        """The folder under XDG state that belongs to this file."""
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        digest = hashlib.blake2b(str(self.path).encode(), digest_size=4).hexdigest()
        name = re.sub(r"[^\w-]+", "-", self.folder.name) or "root"
        return Path(base).expanduser() / "syncline" / f"{name}-{digest}"

    def log_of(self, name: str) -> Path:
        """Where the lines of a pipeline are."""
        return self.room / "logs" / f"{name}.log"

    def lock_of(self, name: str, holder: Literal["supervisor", "worker"]) -> Path:
        """The file whose lock a pipeline's supervisor, or its worker, holds."""
        return self.room / "locks" / f"{name}.{holder}"

    def pipelines(self, asked: Sequence[str] = ()) -> dict[str, PipelineSection]:
        """The pipelines of these names; all, when none is named. Refused for a name that is not there."""
        there = self.configuration.pipelines
        for name in asked:
            if name not in there:
                near = get_close_matches(name, there, 1)
                known = f"did you mean {near[0]}?" if near else f"it has {', '.join(there) or 'none'}"
                raise Refused("find", f"pipeline {name}", f"{self.path} has no such pipeline", known)
        return {name: there[name] for name in asked or there}

    def reference(self, end: str) -> str:
        """The reference that `from` or `to` means; a path in it is made one from here."""
        reference = self.configuration.stores.get(end, end).strip()
        for prefix in ("sqlite:///", "file:"):
            path = reference.removeprefix(prefix)
            if path != reference and not path.startswith(("/", "~", ":", "?")) and self.folder != Path.cwd():
                return f"{prefix}{self.folder / path}"
        return reference


def find_configuration(path: Path | None) -> Path:
    """Where the configuration is: the path given, $SYNCLINE_CONFIG, ./syncline.toml, or in the XDG
    configuration folder; the first of these that applies. Refused when there is none."""
    if path is not None:
        return path.expanduser().absolute()
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    places = [Path(FILE).absolute(), Path(base).expanduser() / "syncline" / FILE]
    for place in places:
        if place.exists():
            return place
    raise Refused(
        "read",
        FILE,
        f"there is none in this folder, nor at {places[1]}",
        "make one with syncline init FROM TO, or name it with --config PATH",
    )


def open_project(path: Path | None = None, text: str | None = None) -> Project:
    """Find, read and check the configuration; a `text` stands for what the file holds. Refused, or
    Misconfigured with everything that is wrong."""
    place = find_configuration(path)
    try:
        text = place.read_text(encoding="utf-8-sig") if text is None else text
    except UnicodeDecodeError:
        raise Refused("read", str(place), "it is not a text file", "write it in UTF-8") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Refused("read", str(place), why, "make one with syncline init FROM TO") from None

    from .problems import check  # late: pydantic comes with it

    configuration, problems = check(text)
    if configuration is None or problems:
        errors = [
            Misconfigured("read", _shown(place), f"line {p.line}: {p.reason}", p.remedy) for p in problems
        ]
        errors[0].problems = [str(error) for error in errors]
        raise errors[0]
    return Project(place, configuration, text)


def _shown(place: Path) -> str:
    """The path as somebody who stands here would write it."""
    try:
        return str(place.relative_to(Path.cwd()))
    except ValueError:
        return str(place)
