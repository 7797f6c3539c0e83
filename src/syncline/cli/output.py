"""What commands leave on stdout: documents and reports."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from ..errors import Interrupted

if TYPE_CHECKING:
    from ..engine.report import Report


def write_json(document: object, status: int) -> int:
    """Write one JSON document; the exit code, another one when nobody reads it."""
    import orjson

    try:
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        sys.stdout.flush()
    except BrokenPipeError:
        return close_pipe(status)
    return status


def close_pipe(status: int) -> int:
    """Nobody reads stdout any more: keep Python from saying so at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def show_report(report: Report, error: Interrupted | None, as_json: bool) -> int:
    """Write the final report, and the error that ended the run, if any; the exit code."""
    from ..control.failures import error_members
    from ..control.reports import report_members
    from . import failures, summary

    status = error.exit_status if error else report.exit_code
    document = report_members(report) | (error_members(error) if error else {})
    if error:
        typer.echo(failures.line(error), err=True)
    if as_json:
        return write_json(document, status)

    from rich.console import Console

    try:
        summary.show(report, Console())
        sys.stdout.flush()
    except BrokenPipeError:
        return close_pipe(status)
    return status
