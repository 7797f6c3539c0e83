"""Failpoints act where and when they are armed, and cost nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import syncline
from syncline import failpoints
from syncline.errors import Refused, Transient

ONE, TWO, *_ = failpoints.NAMES


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_unarmed_points_are_quiet() -> None:
    for name in failpoints.NAMES:
        failpoints.hit(name)


def test_the_first_hit_acts_and_no_other() -> None:
    failpoints.arm(f"{ONE}=fail")
    failpoints.hit(TWO)
    with pytest.raises(Transient):
        failpoints.hit(ONE)
    failpoints.hit(ONE)


def test_a_later_hit_acts() -> None:
    failpoints.arm(f" {ONE}=fail@3 , {TWO}=sleep:0")
    failpoints.hit(ONE)
    failpoints.hit(TWO)
    failpoints.hit(ONE)
    with pytest.raises(Transient):
        failpoints.hit(ONE)
    failpoints.hit(ONE)


def test_arming_replaces_what_was_armed() -> None:
    failpoints.arm(f"{ONE}=fail")
    failpoints.arm(f"{TWO}=fail")
    failpoints.hit(ONE)
    with pytest.raises(Transient):
        failpoints.hit(TWO)


@pytest.mark.parametrize("text", ["nowhere=fail", f"{ONE}=explode", ONE])
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        failpoints.arm(text)


def test_kill_is_a_kill_of_the_process_that_the_variable_arms() -> None:
    code = f"from syncline import failpoints; failpoints.hit({ONE!r}); print('alive')"
    for armed, status in ((f"{ONE}=kill", -signal.SIGKILL), (f"{TWO}=kill", 0)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, failpoints.VARIABLE: armed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr


def test_every_point_is_hit_somewhere_and_no_other() -> None:
    package = Path(syncline.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py") if path.name != "failpoints.py"]
    source = "\n".join(texts)
    for name in failpoints.NAMES:
        assert f'failpoints.hit("{name}")' in source, name
    assert source.count("failpoints.hit(") == source.count('failpoints.hit("')
