"""`syncline remove`: takes away what runs made."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ...errors import Refused
from ..chosen import Config, Json, Pair
from ..figures import printable
from ..output import write_json


def remove(
    stores: Pair,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="PIPELINE", help="Of FROM and TO, the stream that a pipeline had."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Take away all that runs made at both ends: slot, publication, triggers and bookkeeping; of a pipeline
    its status, its reports and its log as well.

    Rows stay, and so does the configuration. A later run copies anew what is not equal. A pipeline that is
    no longer in syncline.toml is named by its two databases and --name.
    """
    from ...control.pairs import resolve_alone
    from ...control.service import remove as take_away

    pair = resolve_alone(stores, "remove", config)
    if name is not None and pair.project is not None:
        why = "--name tells streams between FROM and TO apart"
        raise Refused("read", "the command line", why, "leave it away")
    if name is not None:
        pair = replace(pair, options=replace(pair.options, pipeline=name, pipelines=(name,)))
    notes = take_away(pair)
    if as_json:
        document = {"exit": 0, "error": None, "pipeline": pair.options.pipeline or None, "notes": notes}
        return write_json(document, 0)
    for note in notes:
        typer.echo(printable(f"{pair.options.pipeline}: {note}" if pair.options.pipeline else note))
    return 0
