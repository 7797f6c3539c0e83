"""Runs, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SYNCLINE, NATIVE, CONTROL, PSQL = "syncline", "native", "native again", "psql"
SNAPSHOT, START = "snapshot", "start"


@dataclass(frozen=True)
class Run:
    """One contender's one time over one piece of work; `changes` are rows, for a snapshot."""

    work: str
    contender: str
    changes: int
    seconds: float
    cpu_seconds: dict[str, float]
    client_peak_mib: float


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """The ratios, and under `figures` what they come from. A ratio is the median of the other one's seconds
    by the median of Syncline's."""
    kinds = [work for work in dict.fromkeys(run.work for run in runs) if work not in (SNAPSHOT, START)]
    syncline = [run for run in runs if run.contender == SYNCLINE]
    return {
        "snapshot_vs_native": ratio(runs, SNAPSHOT, NATIVE, SYNCLINE),
        "snapshot_vs_psql": ratio(runs, SNAPSHOT, PSQL, SYNCLINE),
        **{f"catchup_{kind}_vs_native": ratio(runs, kind, NATIVE, SYNCLINE) for kind in kinds},
        "aa_control": {work: ratio(runs, work, CONTROL, NATIVE) for work in (SNAPSHOT, *kinds)},
        "cpu_seconds_per_million": {
            work: round(1e6 * median(_own_cpu(run) / run.changes for run in _of(runs, work, SYNCLINE)), 2)
            for work in (SNAPSHOT, *kinds)
        },
        "peak_rss_mib": max(run.client_peak_mib for run in syncline),
        "start_seconds": {
            name: round(median(run.seconds for run in _of(runs, START, name)), 3)
            for name in (SYNCLINE, NATIVE)
        },
        "figures": [_figure(same) for same in _alike(runs)],
    }


def ratio(runs: Sequence[Run], work: str, other: str, one: str) -> float:
    """How many times the median time of `one` the median time of `other` is."""
    others, ones = (median(run.seconds for run in _of(runs, work, name)) for name in (other, one))
    return round(others / ones, 3)


def _of(runs: Iterable[Run], work: str, contender: str) -> list[Run]:
    return [run for run in runs if (run.work, run.contender) == (work, contender)]


def _own_cpu(run: Run) -> float:
    return run.cpu_seconds.get(SYNCLINE, 0.0)


def _alike(runs: Sequence[Run]) -> list[list[Run]]:
    pairs = dict.fromkeys((run.work, run.contender) for run in runs)
    return [_of(runs, *pair) for pair in pairs]


def _figure(runs: Sequence[Run]) -> dict[str, Any]:
    seconds = [run.seconds for run in runs]
    middle = median(seconds)
    names = sorted({name for run in runs for name in run.cpu_seconds})
    cpu = {name: round(median(run.cpu_seconds.get(name, 0.0) for run in runs), 2) for name in names}
    return {
        "work": runs[0].work,
        "contender": runs[0].contender,
        "changes": runs[0].changes,
        "median_seconds": round(middle, 3),
        "spread": round((max(seconds) - min(seconds)) / middle, 3),
        "changes_per_second": round(runs[0].changes / middle),
        "seconds": [round(each, 3) for each in seconds],
        "cpu_seconds": {name: spent for name, spent in cpu.items() if spent},
        "client_peak_mib": max(run.client_peak_mib for run in runs),
    }
