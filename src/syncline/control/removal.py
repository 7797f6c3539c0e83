"""Takes a pipeline away: at both ends, and from this machine."""

from __future__ import annotations

import select

from .child import Child
from .failures import from_members
from .project import Project
from .state import open_state


def take_away(project: Project, name: str, *, supervised: bool) -> list[str]:
    """What `service.remove` promises. Under a supervisor the wish to pause stays, or it would begin anew."""
    child = Child(project, name, "remove", echo=None)
    try:
        while not child.hear():
            select.select([child.link], [], [])
    except BaseException:
        child.terminate()
        raise
    word = child.word()
    child.dismiss()
    if word["error"]:
        raise from_members(word)
    with open_state(project) as state:
        state.forget(name, wish=not supervised)
    log = project.log_of(name)
    for file in [log, *log.parent.glob(f"{log.name}.*")]:
        file.unlink(missing_ok=True)
    notes: list[str] = word["notes"]
    return notes
