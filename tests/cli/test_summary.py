"""The final report, for people and for programs."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from syncline.cli import summary
from syncline.control.reports import report_members
from syncline.engine.report import Report, TableReport, Verdict
from syncline.model import TableName


def report(*tables: TableReport, notes: tuple[str, ...] = ()) -> Report:
    return Report("syncline_1", "postgresql://me@h/a", "sqlite:///b", list(tables), 12.34, list(notes))


def table(name: str, verdict: Verdict, rows: int = 0, changes: int = 0, detail: str = "") -> TableReport:
    return TableReport(TableName(name), verdict, TableName(name), rows, changes, 2.0, detail)


def shown(report: Report, width: int = 80, terminal: bool = False) -> str:
    out = io.StringIO()
    summary.show(report, Console(file=out, width=width, force_terminal=terminal, no_color=True))
    return out.getvalue()


def test_equal_tables_are_one_sentence() -> None:
    both = report(table("a", Verdict.EQUAL, 1_200_000, 45_000), table("b", Verdict.EQUAL, 34_567, 678))
    assert summary.closing(both) == (
        "2 tables equal · 1,234,567 rows copied · 45,678 changes applied · 12.3 s"
    )


def test_the_speed_of_a_run_that_went_on_is_its_own() -> None:
    late = table("a", Verdict.EQUAL, 900_000)
    late.rows_before = 899_000
    assert late.rows_per_second == 500.0
    assert "900,000         0       2.0      500" in shown(report(late))


def test_what_is_not_equal_is_named_with_the_way_out() -> None:
    text = shown(
        report(
            table("a", Verdict.EQUAL, 10),
            table("b", Verdict.DIFFERENT, 10),
            table("c", Verdict.NOT_COMPARED, 10),
            table("d", Verdict.SKIPPED, detail="it has no key; add a primary key"),
        )
    )
    assert "c: source still changing\n" in text
    assert "d: it has no key; add a primary key\n" in text
    assert text.splitlines()[-1] == (
        "1 table equal, 1 table different: b, 1 table not compared (source still changing): c,"
        " 1 table skipped: d · 30 rows copied · 0 changes applied · 12.3 s"
    )


def test_many_names_are_cut_after_three() -> None:
    skipped = [table(f"t{number}", Verdict.SKIPPED) for number in range(5)]
    assert summary.closing(report(*skipped)).startswith("5 tables skipped: t0, t1, t2, 2 more ·")


def test_a_dry_run_counts_no_rows() -> None:
    assert summary.closing(report(table("a", Verdict.PLANNED))) == "1 table would be copied · 12.3 s"


def test_a_removal_has_only_its_notes() -> None:
    assert shown(report(notes=("stream syncline_1 is taken away",))) == (
        "stream syncline_1 is taken away\ndone · 12.3 s\n"
    )


def test_outside_a_terminal_nothing_is_cut() -> None:
    name = "a_table_with_a_name_" * 10
    assert name in shown(report(table(name, Verdict.EQUAL)))


def test_in_a_terminal_long_names_are_folded_and_figures_stay() -> None:
    text = shown(report(table("x" * 90, Verdict.EQUAL, 1_234_567, 8)), terminal=True)
    assert "1,234,567" in text
    assert max(len(line) for line in Text.from_ansi(text).plain.splitlines()) <= 80
    assert text.count("x") == 90


def test_the_document_has_stable_keys() -> None:
    one = table("a", Verdict.NOT_COMPARED, 10, 3, "why")
    document = report_members(report(one, notes=("left behind",)))
    assert document == {
        "exit": 1,
        "error": None,
        "stream": "syncline_1",
        "source": "postgresql://me@h/a",
        "target": "sqlite:///b",
        "seconds": 12.34,
        "rows_copied": 10,
        "changes_applied": 3,
        "tables": [
            {
                "table": "a",
                "target": "a",
                "verdict": "not_compared",
                "rows_copied": 10,
                "changes_applied": 3,
                "seconds": 2.0,
                "rows_per_second": 5.0,
                "detail": "why",
            }
        ],
        "notes": ["left behind"],
    }
