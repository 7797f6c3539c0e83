"""`syncline schema`: what syncline.toml may hold."""

from __future__ import annotations

from ..output import write_json


def schema() -> int:
    """Write the JSON schema of syncline.toml to stdout, so that an editor completes and checks the file.

    `syncline init` puts it beside the file, which names it in its first line.
    """
    from ...control.model import json_schema

    return write_json(json_schema(), 0)
