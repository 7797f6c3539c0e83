"""Every metric, by one table: what is exported, what docs/metrics.md lists, what tests compare.

A metric has one name; for Prometheus it is written `syncline_lag_seconds`, for DogStatsD
`syncline.lag_seconds`. The base units of Prometheus (seconds, bytes) hold for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .figures import Figures

Samples = Iterator[tuple[tuple[str, ...], float]]
"""Values with the labels' values that come after the pipeline."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a pipeline. Its labels are `pipeline` and `labels`; `read` gives its values of the moment
    `now`, none where there is nothing to tell."""

    name: str
    kind: Literal["gauge", "counter"]
    unit: str
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Figures, float], Samples]

    @property
    def prometheus(self) -> str:
        """Its name for Prometheus; that of a counter ends as is the custom there."""
        return f"syncline_{self.name}" + ("_total" if self.kind == "counter" else "")

    @property
    def dogstatsd(self) -> str:
        """Its name for DogStatsD."""
        return f"syncline.{self.name}"


def _one(value: Callable[[Figures, float], float | None]) -> Callable[[Figures, float], Samples]:
    def read(figures: Figures, now: float) -> Samples:
        found = value(figures, now)
        if found is not None:
            yield (), float(found)

    return read


def _of_unit(unit: str, member: Literal["lag", "retained"]) -> Callable[[Figures, float], Samples]:
    return _one(lambda figures, now: getattr(figures, member) if figures.lag_unit == unit else None)


def _tables(member: Literal["rows_copied", "changes_applied"]) -> Callable[[Figures, float], Samples]:
    def read(figures: Figures, now: float) -> Samples:
        for table in figures.tables:
            yield (table.table,), float(getattr(table, member))

    return read


def _states(figures: Figures, now: float) -> Samples:
    for table in figures.tables:
        yield (table.table, str(table.state)), 1.0


METRICS = (
    Metric(
        *("lag_seconds", "gauge", "seconds", ()),
        "how old the target is: since when it is not known to hold all that the source's log told, and at"
        " least what a message takes end to end; grows while nobody looks",
        _one(Figures.behind_seconds),
    ),
    Metric(
        *("end_to_end_seconds", "gauge", "seconds", ()),
        "what a message takes from the source's log to the position at the target (PostgreSQL, while"
        " following); one is sent every minute, and the one on its way counts as long as it has taken",
        _one(lambda figures, now: figures.end_to_end_seconds),
    ),
    Metric(
        *("lag_bytes", "gauge", "bytes", ()),
        "log of the source that is not applied yet",
        _of_unit("bytes", "lag"),
    ),
    Metric(
        *("lag_rows", "gauge", "rows", ()),
        "the same where the log is a table (SQLite)",
        _of_unit("rows", "lag"),
    ),
    Metric(
        *("retained_log_bytes", "gauge", "bytes", ()),
        "log that the source keeps for this pipeline",
        _of_unit("bytes", "retained"),
    ),
    Metric(
        *("retained_log_rows", "gauge", "rows", ()),
        "the same where the log is a table (SQLite)",
        _of_unit("rows", "retained"),
    ),
    Metric(
        *("standstill_seconds", "gauge", "seconds", ()),
        "for how long nothing was reached although the log has more, or cannot be read; else 0",
        _one(Figures.still_seconds),
    ),
    Metric(
        *("parked_keys", "gauge", "keys", ()),
        "keys whose rows the target cannot take, set aside",
        _one(lambda figures, now: figures.parked),
    ),
    Metric(
        *("rows_copied", "counter", "rows", ("table",)),
        "rows copied since the worker began, those of an interrupted copy included",
        _tables("rows_copied"),
    ),
    Metric(
        *("changes_applied", "counter", "changes", ("table",)),
        "changes applied since the worker began",
        _tables("changes_applied"),
    ),
    Metric(
        *("rows_per_second", "gauge", "rows/s", ()),
        "rows copied a second, over the last 8 seconds",
        _one(lambda figures, now: figures.rows_per_second),
    ),
    Metric(
        *("changes_per_second", "gauge", "changes/s", ()),
        "changes applied a second, over the last 8 seconds",
        _one(lambda figures, now: figures.changes_per_second),
    ),
    Metric(
        *("table_state", "gauge", "1", ("table", "state")),
        "1 for the state that each table is in",
        _states,
    ),
    Metric(
        *("trouble", "gauge", "1", ()),
        "1 while the last error has not been got over, else 0",
        _one(lambda figures, now: float(figures.trouble is not None)),
    ),
    Metric(
        *("figures_age_seconds", "gauge", "seconds", ()),
        "how old these figures are; a worker that works tells them at least every 5 seconds",
        _one(lambda figures, now: max(0.0, now - figures.at)),
    ),
)


def table() -> str:
    """The table of docs/metrics.md, in Markdown: `python -m syncline.observe.names` prints it."""
    lines = ["| Prometheus | DogStatsD | kind | unit | labels | meaning |", "|---|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in ("pipeline", *metric.labels))
        names = f"`{metric.prometheus}` | `{metric.dogstatsd}`"
        lines.append(f"| {names} | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
