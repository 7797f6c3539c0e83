"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The configuration, where it is not looked for by itself."),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[PIPELINE]…", help="Only these pipelines, by name.")
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")]
