"""What a syncline.toml that changes means for those that run."""

from __future__ import annotations

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


def differs(old: Project, new: Project, name: str) -> bool:
    """Whether a pipeline's worker has to begin anew; schedules, budgets and alarms are its supervisor's."""
    return _meant(old, name) != _meant(new, name)


def _meant(project: Project, name: str) -> tuple[object, ...]:
    section = project.configuration.pipelines[name]
    own = section.model_copy(update={"schedule": None, "budget": None, "alarm": None})
    return own, project.reference(section.source), project.reference(section.target)


def left_to_a_start(running: Project, new: Project) -> str:
    """A sentence that names the sections whose change only a new start takes up; '' when there is none."""
    names = [
        f"[{name}]"
        for name in ("state", "metrics", "log")
        if getattr(running.configuration, name) != getattr(new.configuration, name)
    ]
    if not names:
        return ""
    return f"{' and '.join(names)} changed in {new.path.name}: start syncline run again to take that up"
