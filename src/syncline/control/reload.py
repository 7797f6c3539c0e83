"""Notices that syncline.toml has changed while its pipelines run."""

from __future__ import annotations

from ..errors import Refused
from .project import Project, open_project


class ConfigurationFile:
    """The file of a project, looked at now and then."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._seen = project.text

    def look(self) -> Project | None:
        """The project as the file says it now; None while it says what it said. A file that cannot be used
        raises, once, what is wrong with it, and changes nothing."""
        try:
            text = self._project.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            text = ""
        if text == self._seen:
            return None
        self._seen = text
        return open_project(self._project.path)


def changed(old: Project, new: Project, names: list[str]) -> list[str]:
    """Those of the running pipelines that are others by now. Refused for what only a new start can do."""
    for name in names:
        before, after = old.configuration.pipelines[name], new.configuration.pipelines.get(name)
        why = "it is gone from the file" if after is None else ""
        if after is not None and after.schedule != before.schedule:
            why = "its schedule is another one"
        if why:
            remedy = "start syncline run again; until then nothing changes"
            raise Refused("reload", f"pipeline {name}", why, remedy)
    return [name for name in names if _meant(old, name) != _meant(new, name)]


def _meant(project: Project, name: str) -> tuple[object, ...]:
    section = project.configuration.pipelines[name]
    return section, project.reference(section.source), project.reference(section.target)
