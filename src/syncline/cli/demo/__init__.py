"""`syncline demo`: the main job on two SQLite files, while a program writes.

    play      the demonstration, from the first row to what to try next
    shop      a small shop's tables and about 100,000 rows
    writer    a process that inserts, updates, deletes and changes keys in it

The rows are made, changed and at the end compared by plain SQLite here; the syncing is what
`syncline sync` does, and nothing else.
"""

from .play import play

__all__ = ["play"]
