"""The crash tests in their short form: every failpoint, three random kills and one of each fault."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.crash import evolving, run
from tests.crash.run import crash

PAIRS = [
    ("postgres", "postgres-b"),
    ("sqlite", "postgres"),
    pytest.param("postgres", "sqlite", marks=pytest.mark.deep),
    pytest.param("sqlite", "sqlite", marks=pytest.mark.deep),
]
EVOLVING = [
    ("postgres", "postgres-b"),
    pytest.param("postgres", "sqlite", marks=pytest.mark.deep),
    pytest.param("sqlite", "postgres", marks=pytest.mark.deep),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_nothing_is_lost_and_nothing_doubled(source: str, target: str, tmp_path: Path) -> None:
    crash(run.Crash, run.SHORT, source, target, tmp_path, seed())


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("source", "target"), EVOLVING)
def test_nor_where_rules_and_changes_of_shape_are_under_way(source: str, target: str, tmp_path: Path) -> None:
    crash(evolving.Evolving, evolving.SHORT, source, target, tmp_path, seed())


def seed() -> int:
    """The one asked for, or a new one; the test prints it."""
    return int(os.environ.get("SYNCLINE_SEED") or random.SystemRandom().randrange(1_000_000))
