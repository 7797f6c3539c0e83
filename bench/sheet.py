"""The figures as a page of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .figures import NATIVE, SYNCLINE

_RIGHT = 2  # columns from here on hold figures


def text(document: dict[str, Any]) -> str:
    """The page of a document."""
    where, versions = document["machine"], document["versions"]
    loads = " ".join(map(str, where["load_average_at_start"]))
    lines = [
        f"{document['benchmark']}: {document['rows']:,} rows, {document['rounds']} rounds, medians;"
        f" {document['date']}, revision {document['revision'] or 'unknown'}",
        f"{where['cpu']}, {where['cores']} cores, {where['memory_mib']:,} MiB, load {loads} at start;"
        f" PostgreSQL {document['servers']['target']['server_version']}, Python {versions['python']}",
        "",
        *_ratios(document),
        "",
        *_aligned(
            ["work", "by", "changes", "seconds", "spread", "changes/s", "peak MiB"], _figures(document)
        ),
        "",
        *_aligned(["work", "by", "processor seconds"], _processors(document)),
    ]
    return "\n".join(lines)


def _ratios(document: dict[str, Any]) -> list[str]:
    control = document["aa_control"]
    rows = []
    for name, value in document.items():
        if "_vs_" in name:
            work = name.removeprefix("catchup_").partition("_vs_")[0]
            rows.append([name, "", f"{value:.2f}", f"{control[work]:.2f}"])
    start = document["start_seconds"]
    million = document["cpu_seconds_per_million"]
    return [
        *_aligned(["how many times as fast as the other", "", "Syncline", "native again"], rows),
        "",
        "Syncline's processor seconds a million: "
        + ", ".join(f"{work} {seconds:g}" for work, seconds in million.items()),
        f"Syncline's peak resident memory: {document['peak_rss_mib']:g} MiB",
        f"from start to the first change: Syncline {start[SYNCLINE]:g} s, native {start[NATIVE]:g} s"
        " (counted in every catch-up)",
    ]


def _figures(document: dict[str, Any]) -> list[list[str]]:
    return [
        [
            figure["work"],
            figure["contender"],
            f"{figure['changes']:,}",
            f"{figure['median_seconds']:.2f}",
            f"{figure['spread']:.0%}",
            f"{figure['changes_per_second']:,}",
            f"{figure['client_peak_mib']:.0f}" if figure["client_peak_mib"] else "",
        ]
        for figure in document["figures"]
    ]


def _processors(document: dict[str, Any]) -> list[list[str]]:
    return [
        [
            figure["work"],
            figure["contender"],
            ", ".join(f"{name} {seconds:.2f}" for name, seconds in figure["cpu_seconds"].items()),
        ]
        for figure in document["figures"]
    ]


def _aligned(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under a heading; figures to the right, a last column of words as it comes."""
    table = [heading, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(heading))]
    words = len(heading) == _RIGHT + 1
    return [
        "  ".join(
            cell.ljust(width) if at < _RIGHT or words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
