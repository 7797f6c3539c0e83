"""What a check found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ..engine.check import End, Findings, Found
from ..model import Severity, TableName
from . import figures

_SIGNS = {
    Severity.REFUSE: ("✗", "bold red"),
    Severity.WARN: ("!", "bold yellow"),
    Severity.NOTE: ("·", "dim"),
}
_WIDE = 4096  # where there is no terminal nothing is cut or wrapped


def members(findings: Findings) -> dict[str, Any]:
    """The document of `--json`; its keys stay."""
    return {
        "exit": findings.exit_code,
        "error": None,
        "stream": findings.stream,
        "source": findings.source,
        "target": findings.target,
        "tables": [str(table) for table in findings.tables],
        "problems": [
            {
                "severity": str(found.problem.severity),
                "at": str(found.end),
                "table": str(found.problem.table) if found.problem.table else None,
                "operation": found.problem.operation,
                "subject": found.problem.subject,
                "reason": found.problem.reason,
                "remedy": found.problem.remedy,
                "statement": found.problem.statement,
                "safe": found.problem.safe,
            }
            for found in findings.problems
        ],
    }


def show(findings: Findings, console: Console) -> None:
    """Print the problems by store and table, a statement on a line of its own, and one closing line."""
    if not console.is_terminal:
        console.width = _WIDE
    for end, name in ((End.SOURCE, findings.source), (End.TARGET, findings.target)):
        mine = [found for found in findings.problems if found.end is end]
        if mine:
            console.print(Text(f"{end}  {figures.printable(name)}", style="bold"))
            _show_store(mine, console)
            console.print()
    style = ("bold green", "bold yellow", "bold red")[findings.exit_code]
    console.print(Text(closing(findings), style=style))


def _show_store(problems: Sequence[Found], console: Console) -> None:
    order = list(Severity)
    tables: dict[TableName | None, list[Found]] = {}
    for found in sorted(problems, key=lambda found: found.problem.table is not None):
        tables.setdefault(found.problem.table, []).append(found)
    for table, group in tables.items():
        if table is not None:
            console.print(Text(f"  table {figures.printable(table)}", style="cyan"))
        for found in sorted(group, key=lambda found: order.index(found.problem.severity)):
            _show_problem(found, console, "    " if table is not None else "  ")


def _show_problem(found: Found, console: Console, indent: str) -> None:
    problem = found.problem
    sign, style = _SIGNS[problem.severity]
    reason = Text.assemble((sign, style), " ", figures.printable(problem.reason))
    console.print(Padding(reason, (0, 0, 0, len(indent)), expand=False))
    statement = problem.statement
    if not problem.remedy:
        return
    before, _, after = problem.remedy.partition(f"run {statement}") if statement else (problem.remedy, "", "")
    if statement:
        # Not wrapped, so that it can be copied as it is; what surrounds it stands beside it as a comment.
        told = " ".join(
            filter(None, (before.strip(" ,"), after.strip(" ,"), "(--fix)" if problem.safe else ""))
        )
        line = Text.assemble(indent, "  ", (figures.printable(f"{statement};"), "green"))
        if told:
            line.append(f"  -- {figures.printable(told)}", style="dim")
        console.print(line, soft_wrap=True)
    else:
        remedy = Text(figures.printable(before), style="dim")
        console.print(Padding(remedy, (0, 0, 0, len(indent) + 2), expand=False))


def closing(findings: Findings) -> str:
    """One line that sums it up: `2 refusals, 1 warning · 12 tables would be synced`."""
    counts = dict.fromkeys(Severity, 0)
    for found in findings.problems:
        counts[found.problem.severity] += 1
    names = {Severity.REFUSE: "refusal", Severity.WARN: "warning", Severity.NOTE: "note"}
    told = [figures.counted(count, names[severity]) for severity, count in counts.items() if count]
    tables = figures.counted(len(findings.tables), "table")
    outcome = "a sync would be refused" if counts[Severity.REFUSE] else f"{tables} would be synced"
    return " · ".join([", ".join(told) or "nothing stands in the way", outcome])
