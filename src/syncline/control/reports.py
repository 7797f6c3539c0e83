"""The report of a run as a document: what `--json` writes and the state database keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.report import Report


def report_members(report: Report) -> dict[str, Any]:
    """The document of a report; its keys stay."""
    return {
        "exit": report.exit_code,
        "error": None,
        "stream": report.stream,
        "source": report.source,
        "target": report.target,
        "seconds": round(report.seconds, 3),
        "rows_copied": sum(table.rows_copied for table in report.tables),
        "changes_applied": sum(table.changes_applied for table in report.tables),
        "tables": [
            {
                "table": str(table.name),
                "target": str(table.target) if table.target else None,
                "verdict": table.verdict.name.lower(),
                "rows_copied": table.rows_copied,
                "changes_applied": table.changes_applied,
                "seconds": round(table.seconds, 3),
                "rows_per_second": round(table.rows_per_second, 1),
                "detail": table.detail,
            }
            for table in report.tables
        ],
        "notes": list(report.notes),
    }
