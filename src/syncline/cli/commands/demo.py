"""`syncline demo`."""

from __future__ import annotations

import typer


def demo() -> int:
    """Sync two SQLite files of about 100,000 rows while a program writes, and prove them equal.

    Makes everything in a new temporary folder, and leaves it there to play with. Takes about half a minute.
    """
    from ..demo import play

    return play(typer.echo)
