"""Looks at how pipelines do, for those who are not there: raises alarms, and lets figures be exported.

It lives in the supervisor: a worker that hangs or dies cannot tell so itself. Nothing here stops a pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain

from ..errors import SynclineError
from ..observe.alarms import Alarm, Alarms, Condition, Limits, Raised, conditions, keyed
from ..observe.exporters import DogStatsD, Exporter, PrometheusPort, close_all
from ..observe.figures import Figures
from ..observe.notify import Address, Notifier
from . import model
from .project import Project
from .stored import Phase
from .stores import resolve
from .supervision import GOOD_SECONDS, Supervision

Note = Callable[..., None]
"""Takes a pipeline, a sentence for its log, and members of the line."""

DYING_TRIES = 3
"""A worker that died so often in a row, none living for long, keeps dying."""
SILENT_SECONDS = 60.0
"""A worker tells figures every few seconds; one that does not for so long hangs."""


class Watch:
    """Watches the pipelines of these sections until it is closed; `now` is in seconds since 1970.

    Refused when an exporter is asked for whose extra is not installed."""

    def __init__(
        self, project: Project, sections: Mapping[str, model.PipelineSection], note: Note, now: float
    ) -> None:
        self._note, self._born = note, now
        self._figures: dict[str, Figures] = {}
        self._limits: dict[str, Limits] = {}
        self._addresses: dict[str, Address] = {}
        self._of_figures: dict[str, Alarms] = {}
        self._of_life: dict[str, Alarms] = {}
        self._exporters: list[Exporter] = []
        self._export(project.configuration.metrics)
        self._notifier = Notifier(note)
        self.watch_over(project, sections, now)

    def watch_over(self, project: Project, sections: Mapping[str, model.PipelineSection], now: float) -> None:
        """From now on watch these pipelines, with these budgets and addresses; raised alarms stay raised."""
        asked = {name: section.alarm or project.configuration.alarm for name, section in sections.items()}
        for alarms in (self._of_figures, self._of_life):
            for name in alarms.keys() - sections.keys():
                alarms.pop(name).judge({}, now)
            for name, alarm in asked.items():
                alarms.setdefault(name, Alarms(name, alarm.repeat, self._tell)).repeat = alarm.repeat
        self._limits = {name: _limits(section.budget) for name, section in sections.items()}
        self._addresses = {name: _address(alarm) for name, alarm in asked.items()}

    @property
    def reads(self) -> bool:
        """Whether figures are wanted at all."""
        return bool(
            self._exporters
            or any(limits != Limits() for limits in self._limits.values())
            or any(address != Address() for address in self._addresses.values())
            or any(alarms.held for alarms in self._of_figures.values())  # to be cleared
        )

    def look(self, pipelines: Mapping[str, Supervision], now: float) -> None:
        """Judge what is not of the figures: whether workers live."""
        for name, alarms in self._of_life.items():
            if pipelines[name].phase is not Phase.PAUSED:  # whoever paused it knows
                alarms.judge(keyed(self._life(pipelines[name], now)), now)

    def look_at(
        self, figures: Mapping[str, Figures], pipelines: Mapping[str, Supervision], now: float
    ) -> None:
        """Judge figures, as they were read at this moment; those of an earlier service say nothing."""
        self._figures = {
            name: told for name, told in figures.items() if name in self._limits and told.at >= self._born
        }
        for name, alarms in self._of_figures.items():
            one, told = pipelines[name], self._figures.get(name)
            if one.phase is Phase.PAUSED or (told is None and one.phase is not Phase.RUNNING):
                continue
            found = list(_silent(one, told, now))
            if told is not None:
                found += conditions(self._limits[name], told, now, alarms.held)
            alarms.judge(keyed(iter(found)), now)

    def raised(self, name: str) -> list[Raised]:
        """The alarms of a pipeline that are raised now, the oldest first."""
        watched = [of[name].raised for of in (self._of_figures, self._of_life) if name in of]
        return sorted(chain(*watched), key=lambda one: one.since)

    def close(self) -> None:
        """Tell what is still to be told, within seconds, and stop."""
        close_all(self._exporters)
        self._notifier.close()

    def _life(self, one: Supervision, now: float) -> Iterator[Condition]:
        trouble = one.trouble
        if trouble is None or (one.child is not None and now - one.since >= GOOD_SECONDS):
            return
        if trouble.code not in ("died", "bug"):
            yield Condition("operator", trouble.message, remedy=trouble.remedy)
        elif one.tries >= DYING_TRIES or one.mode != "follow":
            remedy = f"see syncline logs {one.name}"
            yield Condition("dying", f"its worker keeps dying: {trouble.message}", remedy=remedy)

    def _tell(self, alarm: Alarm) -> None:
        document = alarm.to_json()
        self._note(alarm.pipeline, str(alarm), event="alarm", alarm=document)
        self._notifier.tell(alarm, self._addresses[alarm.pipeline])

    def _export(self, metrics: model.Metrics) -> None:
        def told() -> Mapping[str, Figures]:
            return self._figures

        try:
            if metrics.prometheus is not None:
                self._exporters.append(PrometheusPort(*_host_port(metrics.prometheus), told))
        except SynclineError as error:
            if error.exit_code == 2:
                raise
            self._note("supervisor", f"{error}; pipelines go on")
        if metrics.dogstatsd is not None:
            note = partial(self._note, "supervisor")
            where = _host_port(metrics.dogstatsd)
            self._exporters.append(DogStatsD(*where, metrics.every, metrics.tags, told, note))


def _silent(one: Supervision, told: Figures | None, now: float) -> Iterator[Condition]:
    last = max(one.since, told.at if told is not None else 0.0)
    if one.phase is Phase.RUNNING and now - last > SILENT_SECONDS:
        message = f"its worker runs and has told nothing for {now - last:.0f} s"
        yield Condition("silent", message, remedy=f"see syncline logs {one.name}")


def _limits(budget: model.Budget) -> Limits:
    return Limits(budget.retained_log, budget.lag, budget.parked, budget.standstill)


def _address(alarm: model.Alarm) -> Address:
    webhook = partial(resolve, alarm.webhook) if alarm.webhook is not None else None
    return Address(alarm.command, webhook, alarm.timeout) if alarm.command or webhook else Address()


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)
