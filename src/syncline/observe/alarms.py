"""When somebody is to be told: budgets held against figures, and each alarm raised and cleared once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from ..words import State
from .figures import Figures

CLEARED_AT = 0.8
"""An alarm is cleared only at so much of its budget: a figure that hovers around it raises one, not many."""

Event = Literal["raised", "repeated", "cleared"]
Key = tuple[str, str]
"""The kind of an alarm and its table, '' for the whole pipeline."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets: bytes, seconds, keys and seconds; None where nothing is watched."""

    retained_log: int | None = None
    lag: float | None = None
    parked: int | None = None
    standstill: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A reason for an alarm: its kind (a name of `Limits`, `table`, `operator`, `dying`, `silent`), its table
    if it is about one, a sentence, what to do, and the figure with its budget where there is one."""

    kind: str
    message: str
    table: str = ""
    remedy: str = ""
    value: float | None = None
    budget: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """A condition for which an alarm is raised, `since` when in seconds since 1970."""

    condition: Condition
    since: float

    def to_json(self) -> dict[str, Any]:
        """The persisted form, which `status --json` has too."""
        return {**asdict(self.condition), "since": self.since}

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        condition = {name: value for name, value in members.items() if name != "since"}
        return cls(Condition(**condition), members["since"])


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to be told of a pipeline; `at` and `since` (the alarm's beginning) in seconds since 1970."""

    event: Event
    pipeline: str
    condition: Condition
    since: float
    at: float

    def to_json(self) -> dict[str, Any]:
        """The document that a command and a webhook get."""
        condition = self.condition
        return {
            "v": 1,
            "event": self.event,
            "pipeline": self.pipeline,
            "kind": condition.kind,
            "table": condition.table or None,
            "message": condition.message,
            "remedy": condition.remedy,
            "value": None if condition.value is None else round(condition.value, 1),
            "budget": condition.budget,
            "unit": condition.unit or None,
            "since": _time(self.since),
            "at": _time(self.at),
        }

    def __str__(self) -> str:
        what = {"raised": "alarm", "repeated": "still an alarm", "cleared": "alarm is over"}[self.event]
        return f"{what}: {self.condition.message}"


def conditions(limits: Limits, figures: Figures, now: float, held: set[Key]) -> Iterator[Condition]:
    """What is wrong in these figures. For the alarms that are `held`, budgets count as exceeded until they
    are met with something to spare."""
    for kind, value, budget, unit, what in _measured(limits, figures, now):
        bound = budget * CLEARED_AT if (kind, "") in held and unit != "keys" else budget
        if value > bound:
            shown = f"{_shown(value, unit)}, the budget is {_shown(budget, unit)}"
            yield Condition(kind, f"{what} {shown}", "", _REMEDIES[kind], value, budget, unit)
    for table in figures.tables:
        if table.state in (State.GAP, State.FAILED, "failed"):
            detail = f": {table.detail}" if table.detail else ""
            yield Condition("table", f"table {table.table} is {table.state}{detail}", table.table)


_REMEDIES = {
    "retained_log": "see with syncline status what keeps the pipeline from moving; the source's disk fills",
    "lag": "see with syncline status what keeps the pipeline from moving",
    "parked": "see them with syncline parked list, mend their rows, and retry them",
    "standstill": "see in syncline status and at the target what the pipeline waits for",
}


def _measured(limits: Limits, figures: Figures, now: float) -> Iterator[tuple[str, float, float, str, str]]:
    if limits.retained_log is not None and figures.retained is not None and figures.lag_unit == "bytes":
        what = "the source keeps log of"
        yield "retained_log", figures.retained, limits.retained_log, "bytes", what
    behind = figures.behind_seconds(now)
    if limits.lag is not None and behind is not None and figures.settled:
        yield "lag", behind, limits.lag, "seconds", "the target is behind by"
    if limits.parked is not None:
        yield "parked", figures.parked, limits.parked, "keys", "keys are parked:"
    if limits.standstill is not None:
        what = "nothing was reached, although there is more, for"
        yield "standstill", figures.still_seconds(now), limits.standstill, "seconds", what


class Alarms:
    """The alarms of one pipeline that are raised now. `repeat` is how many seconds lie at least between two
    tellings of one alarm that lasts; `tell` is given each that is to be told."""

    def __init__(self, pipeline: str, repeat: float, tell: Callable[[Alarm], None]) -> None:
        self._pipeline, self.repeat, self._tell = pipeline, repeat, tell
        self._raised: dict[Key, Alarm] = {}
        self._found: Mapping[Key, Condition] = {}
        self._told: dict[Key, float] = {}

    @property
    def held(self) -> set[Key]:
        """Those that are raised."""
        return set(self._raised)

    @property
    def raised(self) -> list[Raised]:
        """Those that are raised, as they were found last."""
        return [Raised(self._found[key], alarm.since) for key, alarm in self._raised.items()]

    def judge(self, found: Mapping[Key, Condition], now: float) -> None:
        """Raise what is new, clear what is over, and repeat what lasts."""
        self._found = found
        for key, condition in found.items():
            if key not in self._raised:
                self._say("raised", key, condition, now, now)
            elif now - self._told[key] >= self.repeat:
                self._say("repeated", key, condition, self._raised[key].since, now)
        for key, alarm in list(self._raised.items()):
            if key not in found:
                self._say("cleared", key, alarm.condition, alarm.since, now)
                del self._raised[key]

    def _say(self, event: Event, key: Key, condition: Condition, since: float, now: float) -> None:
        alarm = Alarm(event, self._pipeline, condition, since, now)
        self._raised[key], self._told[key] = alarm, now
        self._tell(alarm)


def keyed(found: Iterator[Condition]) -> dict[Key, Condition]:
    """Conditions by their alarms."""
    return {(condition.kind, condition.table): condition for condition in found}


def _shown(value: float, unit: str) -> str:
    if unit == "keys":
        return f"{value:,.0f}"
    if unit == "seconds":
        return f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"
    for name in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {name}" if name == "B" else f"{value:,.1f} {name}"
        value /= 1000
    return f"{value:,.1f} TB"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
