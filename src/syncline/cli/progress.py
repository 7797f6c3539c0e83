"""A run's progress: a picture in a terminal, plain lines anywhere else. Both go to stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..model import State
from . import figures
from .gauges import WAITING, Clock, Gauges, TableGauge

_STYLES = {
    WAITING: "dim",
    State.COPYING: "cyan",
    State.CATCHING_UP: "yellow",
    State.LIVE: "green",
    State.GAP: "red",
    State.FAILED: "red",
}


class Progress(Gauges):
    """Gauges that show themselves while their `with` is open. These show nothing: `--quiet`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines(Progress):
    """One line a table's phase, one a notice, and one with all figures every few seconds at most."""

    interval_seconds = 5.0
    following_seconds = 60.0  # a follow that runs for days fills no log

    def __init__(self, out: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._out = out
        self._last = clock()
        self._shown = (0, 0)

    def told(self, table: TableGauge | None = None) -> None:
        if table is not None:
            self._write(self._phase(table))
            return
        now, interval = self.clock(), self.following_seconds if self.following else self.interval_seconds
        if now - self._last >= interval and (self.rows, self.changes) != self._shown:
            self._last, self._shown = now, (self.rows, self.changes)
            self._write(status(self, now))

    def said(self, text: str) -> None:
        self._write(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.tables:
            self._write(status(self, self.clock()))

    def _phase(self, table: TableGauge) -> str:
        parts = [f"{table.name}: {table.phase}"]
        if table.phase == State.COPYING and table.expected:
            parts.append(f"about {figures.counted(table.expected, 'row')}")
        elif table.phase == State.CATCHING_UP and table.rows:
            parts.append(f"{figures.counted(table.rows, 'row')} copied")
        if table.detail:
            parts.append(table.detail)
        return ", ".join(parts)

    def _write(self, text: str) -> None:
        self._out.write(figures.printable(text) + "\n")
        self._out.flush()


class Picture(Progress):
    """A bar a table, the busiest that fit, a total, and one line of what is behind; drawn in place."""

    bar_width, gap = 10, 2
    columns = (("rows", 11), ("rows/s", 7), ("MB/s", 5), ("left", 5), ("state", 11))
    spare_lines = 7  # heading, total, status, notices

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console
        self._live = Live(
            console=console, get_renderable=self.render, refresh_per_second=5, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.transient = error is None or not self.tables  # after an error the last figures stay
        self._live.stop()

    def said(self, text: str) -> None:
        self._console.print(Text(figures.printable(text), style="yellow"))

    def render(self) -> RenderableType:
        """The picture of this moment."""
        with self.lock:
            now = self.clock()
            if not self.tables:
                return Text("looking at the tables …", style="dim")
            room = max(1, self._console.height - self.spare_lines)
            ranked = sorted(self.tables.values(), key=lambda table: table.busy)
            grid = self._grid()
            for table in ranked[:room]:
                self._row(grid, table, now)
            if len(ranked) > room:
                grid.add_row(Text(f"{len(ranked) - room} more tables", style="dim"))
            if len(ranked) > 1:
                self._total(grid, now)
            line = " · ".join([phases(self), *changes(self, now)])
            return Group(grid, Text(line, style="bold", no_wrap=True, overflow="ellipsis"))

    def _grid(self) -> Table:
        figures_width = sum(width + self.gap for _, width in self.columns) + self.bar_width + self.gap
        grid = Table(box=None, padding=(0, self.gap, 0, 0), header_style="dim", pad_edge=False)
        grid.add_column(
            "table",
            no_wrap=True,
            overflow="ellipsis",
            max_width=max(8, self._console.width - figures_width - self.gap),
        )
        grid.add_column("", width=self.bar_width)
        for name, width in self.columns:
            justify: JustifyMethod = "left" if name == "state" else "right"
            grid.add_column(name, justify=justify, no_wrap=True, min_width=width)
        return grid

    def _row(self, grid: Table, table: TableGauge, now: float) -> None:
        copying = table.phase == State.COPYING
        grid.add_row(
            Text(figures.printable(table.name)),
            self._bar(table.share),
            figures.count(table.rows),
            figures.count(table.row_rate.value(now)) if copying else "",
            figures.megabytes(table.byte_rate.value(now)) if copying else "",
            figures.remaining(table.seconds_left(now)),
            Text(table.phase, style=_STYLES.get(table.phase, "")),
        )

    def _total(self, grid: Table, now: float) -> None:
        share = sum(table.share for table in self.tables.values()) / len(self.tables)
        if self.expected:
            share = sum(table.share * (table.expected or 0) for table in self.tables.values()) / self.expected
        grid.add_row(
            Text("total", style="bold"),
            self._bar(share),
            figures.count(self.rows),
            figures.count(self.row_rate(now)) if self.copying else "",
            figures.megabytes(self.byte_rate(now)) if self.copying else "",
            figures.remaining(self.seconds_left(now)),
        )

    def _bar(self, share: float) -> ProgressBar:
        return ProgressBar(total=1.0, completed=share, width=self.bar_width)


def status(gauges: Gauges, now: float) -> str:
    """One line with all that matters now: phases, the copy's figures, the changes."""
    parts = [phases(gauges)]
    if gauges.copying:
        parts.append(f"{figures.counted(gauges.rows, 'row')} copied")
        parts.append(f"{figures.count(gauges.row_rate(now))} rows/s")
        parts.append(f"{figures.megabytes(gauges.byte_rate(now))} MB/s")
        left = gauges.seconds_left(now)
        parts += [f"{figures.remaining(left)} left"] if left is not None else []
    return " · ".join([*parts, *changes(gauges, now)])


def phases(gauges: Gauges) -> str:
    """How many tables are in which phase: 2 copying, 21 waiting."""
    found = [table.phase for table in sorted(gauges.tables.values(), key=lambda table: table.busy)]
    return ", ".join(f"{found.count(phase)} {phase}" for phase in dict.fromkeys(found))


def changes(gauges: Gauges, now: float) -> list[str]:
    """How many changes, how many a second, and how far behind; nothing before there are any."""
    if not gauges.changes and not gauges.following:
        return []
    lag = gauges.lag
    return [
        f"{figures.counted(gauges.changes, 'change')} applied",
        f"{figures.count(gauges.change_rate.value(now))} changes/s",
        f"{figures.size(lag.amount) if lag.unit == 'bytes' else figures.counted(lag.amount, 'row')} behind",
    ]


def progress(quiet: bool) -> Progress:
    """The progress that suits this stderr: nothing, a picture, or lines (no terminal, or a dumb one)."""
    if quiet:
        return Progress()
    console = Console(stderr=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return Picture(console)
    return Lines(sys.stderr)
