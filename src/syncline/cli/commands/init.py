"""`syncline init`: a first configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...errors import Refused
from ..output import write_json

EPILOG = "Exit codes: 0 written · 2 refused, nothing was written."


def init(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[FROM]", help="The database to read: a URL, env:NAME or file:PATH."),
    ] = None,
    target: Annotated[
        str | None, typer.Argument(metavar="[TO]", help="The database to make equal to it.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="Write it there, not ./syncline.toml.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was done, or the error, as one JSON document.")
    ] = False,
) -> int:
    """Look at two databases and write syncline.toml, with comments. Asks for what is not given.

    Never overwrites a file. A URL with a password is not written down: the file names an environment
    variable in its place.
    """
    from ...control.draft import write_draft
    from ..figures import counted, printable

    draft = write_draft(_ask(source, "FROM"), _ask(target, "TO"), config)
    if as_json:
        document = {
            "exit": 0,
            "error": None,
            "path": str(draft.path),
            "pipeline": draft.pipeline,
            "tables": draft.tables,
            "left_out": draft.left_out,
            "variables": draft.variables,
        }
        return write_json(document, 0)
    typer.echo(f"wrote {draft.path}: pipeline {draft.pipeline}, {counted(draft.tables, 'table')}")
    for table, reason in draft.left_out.items():
        typer.echo(printable(f"left out {table}: {reason}"))
    for variable in draft.variables:
        typer.echo(
            f"put that store's URL into the environment variable {variable}: the file holds no password"
        )
    typer.echo(f"now: syncline check {draft.pipeline}, then syncline run")
    return 0


def _ask(given: str | None, name: str) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise Refused("write", "syncline.toml", f"{name} is not given", "say syncline init FROM TO")
    examples = "such as postgresql://me@host/shop, sqlite:///shop.db or env:SHOP_URL"
    return str(typer.prompt(f"{name}, {examples}", err=True))
