"""The final report of a run, for people and for programs."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engine.report import Report, TableReport, Verdict
from . import figures

_GOOD = (Verdict.EQUAL, Verdict.FOLLOWED, Verdict.PLANNED, Verdict.RESUMED)
_WIDE = 4096  # where there is no terminal nothing is cut or wrapped


def show(report: Report, console: Console) -> None:
    """Print the tables, what is to be said of some of them, and one closing line."""
    if not console.is_terminal:
        console.width = _WIDE
    if report.tables:
        console.print(_table(report))
    remarks = [(figures.printable(table.name), _remark(table)) for table in report.tables if _remark(table)]
    if report.tables:
        console.print()
    for name, remark in remarks:
        console.print(Text(f"{name}: {remark}"))
    for note in report.notes:
        console.print(Text(figures.printable(note)))
    style = "bold green" if report.exit_code == 0 else "bold yellow"
    console.print(Text(closing(report), style=style))


def closing(report: Report) -> str:
    """One line that sums the run up: `12 tables equal · 1,234,567 rows copied · … · 12.3 s`."""
    if not report.tables:
        return f"done · {figures.duration(report.seconds)}"
    groups: dict[Verdict, list[TableReport]] = {}
    for table in report.tables:
        groups.setdefault(table.verdict, []).append(table)
    order = list(Verdict)
    told = [_group(verdict, groups[verdict]) for verdict in sorted(groups, key=order.index)]
    parts = [", ".join(told)]
    rows = sum(table.rows_copied for table in report.tables)
    changes = sum(table.changes_applied for table in report.tables)
    if not set(groups) <= {Verdict.PLANNED, Verdict.RESUMED, Verdict.SKIPPED}:
        parts += [f"{figures.counted(rows, 'row')} copied", f"{figures.counted(changes, 'change')} applied"]
    return " · ".join([*parts, figures.duration(report.seconds)])


def _group(verdict: Verdict, tables: list[TableReport]) -> str:
    text = f"{figures.counted(len(tables), 'table')} {verdict}"
    if verdict in _GOOD:
        return text
    names = [figures.printable(table.name) for table in tables[:3]]
    more = [f"{len(tables) - 3} more"] if len(tables) > 3 else []
    return f"{text}: {', '.join(names + more)}"


def _table(report: Report) -> Table:
    grid = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    grid.add_column("table", overflow="fold")
    grid.add_column("verdict", no_wrap=True)
    for name in ("rows copied", "changes", "seconds", "rows/s"):
        grid.add_column(name, justify="right", no_wrap=True)
    for table in report.tables:
        name = figures.printable(table.name)
        if table.target and table.target != table.name:
            name += f" → {figures.printable(table.target)}"
        grid.add_row(
            Text(name),
            Text(_short(table.verdict), style="green" if table.verdict in _GOOD else "yellow"),
            figures.count(table.rows_copied),
            figures.count(table.changes_applied),
            f"{table.seconds:.1f}",
            figures.count(table.rows_per_second),
        )
    return grid


def _short(verdict: Verdict) -> str:
    """The verdict without its reason, which stands beneath the table."""
    return verdict.partition(" (")[0]


def _remark(table: TableReport) -> str:
    reason = table.verdict.partition(" (")[2].rstrip(")")
    return figures.printable("; ".join(filter(None, (reason, table.detail))))
