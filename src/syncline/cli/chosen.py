"""Arguments and options that several commands have, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..engine.transform.rules import Rules

PAIR = "FROM TO | PIPELINE"
"""How a command that works on two stores names them."""

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The configuration, where it is not looked for by itself."),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[PIPELINE]…", help="Only these pipelines, by name.")
]
Pair = Annotated[
    list[str],
    typer.Argument(
        metavar=PAIR,
        help="The database to read and the one to make equal to it, each a URL such as"
        " postgresql://me@host/shop or sqlite:///shop.db, or env:NAME or file:PATH that holds the URL, so"
        " that its password shows nowhere; or a pipeline of syncline.toml, by its name.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the report and errors.")]

Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--tables",
        metavar="GLOB",
        help="Only tables whose name matches, such as orders or 'sales.*'; may be given again. A name"
        " without * or ? must be there and must be possible to sync.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Not these tables; may be given again."),
]
Store = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="TABLE.COLUMN=FORM",
        help="Keep a column at TO in another form, such as orders.total=text or 'sales.*.total=text'; may"
        " be given again. Exact, or the row is set aside: docs/transforms.md lists the forms.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="TABLE=CONDITION",
        help="Only rows for which an SQL condition is true, such as \"orders=status <> 'draft'\"; may be"
        " given again. A row that no longer passes is deleted at TO.",
    ),
]
Transforms = Annotated[
    list[str] | None,
    typer.Option(
        "--transforms",
        metavar="MODULE",
        help="Use the functions that a Python module registers by @transform; may be given again.",
    ),
]


def read_rules(
    store: Sequence[str] | None, where: Sequence[str] | None, transforms: Sequence[str] | None
) -> dict[str, Rules]:
    """The rules by table that these three options mean; Refused for text of another form."""
    if not (store or where or transforms):
        return {}
    from ..control.rules import command_line_rules

    return command_line_rules(store or (), where or (), transforms or ())
