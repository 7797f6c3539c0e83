"""The crash test in its short form: every failpoint, three random kills and one of each fault."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.crash.run import SHORT, crash

PAIRS = [
    ("postgres", "postgres-b"),
    ("sqlite", "postgres"),
    pytest.param("postgres", "sqlite", marks=pytest.mark.deep),
    pytest.param("sqlite", "sqlite", marks=pytest.mark.deep),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_nothing_is_lost_and_nothing_doubled(source: str, target: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("SYNCLINE_SEED") or random.SystemRandom().randrange(1_000_000))
    crash(SHORT, source, target, tmp_path, seed)
