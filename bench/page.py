"""Committed figures as a page of the documentation, and its picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .figures import SYNCLINE

RESULTS = Path(__file__).resolve().parent / "results"

_WORKS = {
    "snapshot": "copying the table",
    "1000row": "inserts, 1000 rows a transaction",
    "single": "inserts, one row a transaction",
    "update": "updates, 1000 rows a transaction",
    "mixed": "inserts, updates and deletes",
}
_OTHERS = {"native": "native replication", "psql": "psql COPY | COPY"}

_LEFT, _WIDTH, _ROW, _TOP = 300, 720, 34, 52
_STYLE = """
  text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2328; }
  .s { font-size: 11px; fill: #59636e; }
  .even { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3; }
  .bar { fill: #54aeff; }
  .noise { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .s { fill: #9198a1; }
    .even { stroke: #9198a1; }
    .bar { fill: #388bfd; }
    .noise { stroke: #e6edf3; }
  }
"""


def results(system: str) -> dict[str, Any]:
    """The committed document of a system."""
    document: dict[str, Any] = json.loads((RESULTS / f"{system}.json").read_text())
    return document


def page(document: dict[str, Any]) -> str:
    """The page in Markdown; its picture is expected as `pictures/benchmarks.svg` beside it."""
    return "\n".join(_lines(document)) + "\n"


def picture(document: dict[str, Any]) -> str:
    """An SVG: how many times as fast as the other one, with what two runs of the same thing differ by."""
    ratios = list(_ratios(document))
    most = max(1.0, *(value for _, _, value, _ in ratios)) * 1.15
    scale = (_WIDTH - _LEFT - 60) / most
    named, bottom = _LEFT - 10, _TOP + _ROW * len(ratios)
    title = f"Syncline beside native replication and psql, {document['rows']:,} rows"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 30}" width="{_WIDTH}"'
        f' height="{bottom + 30}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="20">times as fast as the other one; longer is better</text>',
    ]
    for at, (work, other, value, noise) in enumerate(ratios):
        y, end = _TOP + _ROW * at, _LEFT + value * scale
        off = max(abs(1 - noise) * value * scale, 1)
        lines += [
            f'<text x="{named}" y="{y + 10}" text-anchor="end">{_WORKS[work]}</text>',
            f'<text x="{named}" y="{y + 23}" text-anchor="end" class="s">against {_OTHERS[other]}</text>',
            f'<rect class="bar" x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="20"/>',
            f'<path class="noise" d="M{end - off:.1f} {y + 10}H{end + off:.1f}"/>',
            f'<text x="{end + off + 6:.1f}" y="{y + 15}">{value:.2f}</text>',
        ]
    even = _LEFT + scale
    lines += [
        f'<path class="even" d="M{even:.1f} {_TOP - 14}V{bottom}"/>',
        f'<text x="{even:.1f}" y="{bottom + 16}" text-anchor="middle" class="s">as fast</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _lines(document: dict[str, Any]) -> Iterator[str]:
    machine, versions = document["machine"], document["versions"]
    server = document["servers"]["target"]["server_version"]
    yield "How many times as fast as the other one: seconds of the other one by seconds of Syncline, medians"
    yield f"of {document['rounds']} rounds over {document['rows']:,} rows. More than 1 is faster."
    yield ""
    yield "![Bars: Syncline against native replication and psql, by kind of work.](pictures/benchmarks.svg)"
    yield ""
    yield "| work | against | times as fast | two runs of the same thing |"
    yield "|---|---|---|---|"
    for work, other, value, noise in _ratios(document):
        against = _OTHERS[other].replace("|", r"\|")
        yield f"| {_WORKS[work]} | {against} | {value:.2f} | {noise:.2f} |"
    start = document["start_seconds"]
    yield ""
    yield f"A run of Syncline begins by starting: {start[SYNCLINE]:.2f} s until the first change, native"
    yield f"replication {start['native']:.2f} s. That is counted in every catch-up above."
    yield f"Its peak resident memory was {document['peak_rss_mib']:.0f} MiB."
    yield ""
    yield from ("## Where the time goes", "")
    yield "The bottleneck is the process that was busy for most of the time; where none was, they waited for"
    yield "each other. Seconds of a processor, of one run of Syncline:"
    yield ""
    yield "| work | seconds of the run | of a processor | processors busy | busiest |"
    yield "|---|---|---|---|---|"
    for figure in document["figures"]:
        if figure["contender"] == SYNCLINE and figure["work"] in _WORKS:
            yield _spent(figure)
    yield from ("", "## How it was measured", "")
    yield "`python -m bench postgres` runs all of them in turn over the same data between two private"
    yield "servers, and counts a run only when its target has equal rows, keys and indexes. Native"
    yield "replication runs twice: what its two runs differ by is what a ratio can be wrong by."
    yield ""
    yield f"{document['date'][:10]}; {machine['cpu']}, {machine['cores']} cores,"
    yield f"{machine['memory_mib']:,} MiB; PostgreSQL {server.split()[0]}, Python {versions['python']},"
    yield f"Syncline {versions['syncline']} at revision {document['revision'] or 'unknown'}."
    yield f"All figures are in `bench/results/{document['benchmark']}.json`."


def _ratios(document: dict[str, Any]) -> Iterator[tuple[str, str, float, float]]:
    for name, value in document.items():
        if "_vs_" in name:
            work, _, other = name.removeprefix("catchup_").partition("_vs_")
            yield work, other, value, document["aa_control"][work]


def _spent(figure: dict[str, Any]) -> str:
    seconds: dict[str, float] = figure["cpu_seconds"]
    run, used = figure["median_seconds"], sum(seconds.values())
    most = max(seconds, key=lambda name: seconds[name])
    return (
        f"| {_WORKS[figure['work']]} | {run:.2f} | {used:.2f} | {used / run:.1f}"
        f" | {most}, {seconds[most] / run:.0%} of the time |"
    )
