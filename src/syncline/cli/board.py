"""How pipelines stand, as a picture."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import figures

if TYPE_CHECKING:
    from ..control.status import PipelineStatus
    from ..observe.figures import Figures, TableFigures

SILENT_SECONDS = 15.0
"""A worker writes its figures every few seconds; one that has not for so long hangs or cannot write."""

_PASSING = ("waiting", "copying", "catching up", "live", "comparing")
"""States of a table that end with the worker."""

_STYLES = {
    **dict.fromkeys(("running", "live", "equal"), "green"),
    **dict.fromkeys(("copying", "scheduled", "comparing"), "cyan"),
    **dict.fromkeys(("catching up", "pausing", "ending", "waiting", "silent"), "yellow"),
    **dict.fromkeys(("died", "halted", "failed", "gap"), "red"),
}


def board(pipelines: Sequence[PipelineStatus], now: float) -> RenderableType:
    """The picture: a line for each pipeline, its tables below it, then what is to be said of some."""
    if not pipelines:
        return Text("there are no pipelines; add one to syncline.toml")
    grid = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    grid.add_column("pipeline", overflow="fold")
    grid.add_column("state", no_wrap=True)
    for name in ("behind", "copied", "changes", "per s"):
        grid.add_column(name, justify="right", no_wrap=True)
    remarks: list[Text] = []
    for one in pipelines:
        _pipeline(grid, one, now)
        remarks += _remarks(one, now)
    told = dict.fromkeys(one.remark for one in pipelines if one.remark)
    remarks += [Text(figures.printable(remark), style="yellow") for remark in told]
    return Group(grid, *([Text()] if remarks else []), *remarks)


def watching(console: Console, read: Callable[[], Sequence[PipelineStatus]], seconds: float) -> None:
    """Show the picture in place until Ctrl-C; SIGTERM ends it too, and leaves the terminal as it was."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                live.update(board(read(), time.time()), refresh=True)
                time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _pipeline(grid: Table, one: PipelineStatus, now: float) -> None:
    told = one.figures
    silent = one.running and (told is None or now - told.at > SILENT_SECONDS)
    state = "silent" if silent and now - (one.since or now) > SILENT_SECONDS else one.state
    tables = told.tables if told else ()
    grid.add_row(
        Text(figures.printable(one.name), style="bold"),
        Text(f"● {state}", style=_STYLES.get(state, "dim")),
        _behind(told) if told and one.running else "",
        figures.count(sum(table.rows_copied for table in tables)) if tables else "",
        figures.count(sum(table.changes_applied for table in tables)) if tables else "",
        figures.count(told.rows_per_second + told.changes_per_second) if told and one.running else "",
    )
    for table in tables:
        _table(grid, table, one)


def _table(grid: Table, table: TableFigures, one: PipelineStatus) -> None:
    state = table.state.replace("_", " ")
    if not one.running and state in _PASSING:
        state = f"was {state}"
    grid.add_row(
        Text(f"  {figures.printable(table.table)}"),
        Text(f"  {state}", style=_STYLES.get(state, "dim")),
        "",
        figures.count(table.rows_copied),
        figures.count(table.changes_applied),
    )


def _behind(told: Figures) -> str:
    """How old the target is, and how much log is not applied; nothing before anybody knows."""
    if told.lag is None:
        return ""
    seconds = f"{figures.duration(told.lag_seconds)}, " if told.lag_seconds is not None else ""
    return seconds + _amount(told.lag, told.lag_unit)


def _amount(amount: int | None, unit: str) -> str:
    if amount is None:
        return ""
    return figures.size(amount) if unit == "bytes" else figures.counted(amount, "row")


def _remarks(one: PipelineStatus, now: float) -> list[Text]:
    name, told = figures.printable(one.name), one.figures
    facts = [f"{figures.printable(one.source)} → {figures.printable(one.target)}"]
    if one.pid is not None:
        facts.append(f"process {one.pid} since {_ago(one.since, now)}")
    elif one.since is not None:
        facts.append(f"{one.state} since {_ago(one.since, now)}")
    if told is not None:
        if told.position is not None:
            facts.append(f"position {figures.printable(told.position)}")
        if told.retained is not None and one.running:
            facts.append(f"the source keeps {_amount(told.retained, told.lag_unit)} of log")
        if told.end_to_end_seconds is not None and one.running:
            facts.append(f"end to end {figures.duration(told.end_to_end_seconds)}")
        facts.append(f"figures of {figures.duration(max(0.0, now - told.at))} ago")
    for what, moment in (("next run", one.next_run), ("next try", one.retry_at)):
        if moment is not None:
            facts.append(f"{what} in {figures.duration(max(0.0, moment - now))}")
    lines = [Text(f"{name}: {' · '.join(facts)}", style="dim")]
    alarmed = {alarm.condition.table for alarm in one.alarms}
    for table in told.tables if told else ():
        if table.detail and table.table not in alarmed:
            lines.append(
                Text(figures.printable(f"{one.name}: {table.table}: {table.detail}"), style="yellow")
            )
    for alarm in one.alarms:
        told_of, remedy = alarm.condition.message, alarm.condition.remedy
        text = told_of if told_of.endswith(remedy) else f"{told_of}; {remedy}"
        ago = _ago(alarm.since, now)
        lines.append(Text(figures.printable(f"{one.name}: alarm since {ago}: {text}"), style="bold red"))
    if one.trouble is not None and one.trouble.message not in [one.condition.message for one in one.alarms]:
        when = figures.duration(max(0.0, now - one.trouble.at))
        text = figures.printable(f"{one.name}: {one.trouble.message} ({when} ago)")
        lines.append(Text(text, style="red"))
    return lines


def _ago(moment: float | None, now: float) -> str:
    return figures.duration(max(0.0, now - (moment or now)))
