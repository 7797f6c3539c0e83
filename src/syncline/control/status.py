"""How pipelines stand: what supervisors and workers stored, held against what still runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..observe.alarms import Raised
from ..observe.figures import Figures, Trouble
from .inquiry import read
from .processes import HOST, runs
from .project import Project
from .stored import STALE_SECONDS, Phase, Wish, WorkerRow, stock


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """One pipeline now. Times are seconds since 1970.

    `state` is `running`, `pausing`, `ending` (its supervisor is gone), `waiting` (to be started again at
    `retry_at`), `scheduled`, `paused`, `halted` (until it is resumed), `stopped`, `died` (its process is
    gone, whatever was stored last), `ended` or `never run`. `figures` are as of `figures.at`, and say nothing
    of now unless `running`. `alarms` are raised now, as far as somebody watches. `remark`
    says what of the configuration is not what runs.
    """

    name: str
    source: str
    target: str
    state: str
    running: bool
    pid: int | None = None
    since: float | None = None
    next_run: float | None = None
    retry_at: float | None = None
    exit_code: int | None = None
    figures: Figures | None = None
    trouble: Trouble | None = None
    alarms: tuple[Raised, ...] = ()
    remark: str = ""

    def to_json(self, now: float) -> dict[str, Any]:
        """The document of `--json`; `age_seconds` is how old the figures are."""
        figures = self.figures
        members = asdict(replace(self, figures=None, trouble=None, alarms=()))
        members["figures"] = figures.to_json() if figures else None
        members["age_seconds"] = round(max(0.0, now - figures.at), 1) if figures else None
        members["trouble"] = asdict(self.trouble) if self.trouble else None
        members["alarms"] = [alarm.to_json() for alarm in self.alarms]
        return members


def read_status(project: Project, names: Sequence[str] = ()) -> list[PipelineStatus]:
    """How these pipelines stand, or all. NeedsOperator when the state database cannot be read."""
    sections = project.pipelines(names)
    found, now = read(project, stock), time.time()
    return [
        _status(
            PipelineStatus(name, section.source, section.target, "", running=False),
            found.wishes.get(name, Wish()),
            found.workers.get(name),
            found.figures.get(name),
            found.next_runs.get(name) if section.schedule else None,
            now,
        )
        for name, section in sections.items()
    ]


def _status(
    bare: PipelineStatus,
    wish: Wish,
    row: WorkerRow | None,
    figures: Figures | None,
    due: float | None,
    now: float,
) -> PipelineStatus:
    if row is None:
        return replace(bare, state="paused" if wish.paused else "never run", figures=figures)
    here = row.host == HOST
    supervised = runs(row.supervisor) if here else now - row.beat < STALE_SECONDS
    working = bool(row.worker) and (runs(row.worker or "") if here else supervised)
    if row.phase == Phase.RUNNING and working and figures is not None and figures.at < row.since:
        figures = None  # an earlier worker's: nobody may take its 'live' for this one's
    trouble = (figures.trouble if figures else None) if working else row.trouble
    return replace(
        bare,
        state=_state(row, wish, supervised=supervised, working=working),
        running=working,
        pid=int((row.worker or "").partition(":")[0]) if working else None,
        since=row.since,
        next_run=due if supervised and not wish.paused else None,
        retry_at=row.retry_at if supervised and row.phase == Phase.WAITING else None,
        exit_code=row.exit_code,
        figures=figures,
        trouble=trouble,
        alarms=row.alarms if supervised and not wish.paused else (),
        remark=row.remark if supervised else "",
    )


def _state(row: WorkerRow, wish: Wish, *, supervised: bool, working: bool) -> str:
    """One word, by what runs; what was stored last counts only as far as that agrees."""
    if working:
        return "ending" if not supervised else "pausing" if wish.paused else "running"
    if row.phase == Phase.RUNNING:
        return "died"
    if wish.paused:
        return "paused"
    if not supervised:
        return "stopped" if row.phase in (Phase.STOPPED, Phase.ENDED, Phase.HALTED) else "died"
    return row.phase
