"""Small file systems of one's own, which fill up or refuse to be written."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs at that place for as long as the `with` lasts, or with `remount` other options for it. Skips
    the test where mounting is not permitted."""
    place.mkdir(exist_ok=True)
    again = options.startswith("remount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        undo = ["mount", "-o", "remount,rw", str(place)] if again else ["umount", "--lazy", str(place)]
        subprocess.run(undo, capture_output=True, check=True)
