"""The two mutations that no change may ever let pass; `make deep-mutations` runs all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from services import Server
from tests.mutations import ROOT, Mutation, apply, mutations, survives

ALWAYS = ("acknowledge-before-commit", "position-outside-the-transaction")


@pytest.mark.parametrize("mutation", [m for m in mutations() if m.name in ALWAYS], ids=lambda m: m.name)
def test_a_broken_promise_is_noticed(
    mutation: Mutation, postgres_server: Server, postgres_b_server: Server
) -> None:
    assert survives(mutation) == ""


def test_every_patch_fits_the_code_as_it_is(tmp_path: Path) -> None:
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for mutation in mutations():
        apply(mutation, tmp_path, "--check")


def test_all_that_must_always_run_are_there() -> None:
    assert {mutation.name for mutation in mutations()} >= set(ALWAYS)
