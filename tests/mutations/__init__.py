"""Small patches that break a promise, each of which must make tests fail.

A patch begins with lines `# breaks: …` and `# tests: …`: what it breaks, and the tests (pytest's own
selectors) of which at least one must fail. `python -m tests.mutations [NAME …]` runs all or some.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so")
"""Without the compiled kernels the patched sources are what runs."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A patch and the tests that guard what it breaks."""

    name: str
    breaks: str
    tests: tuple[str, ...]
    patch: Path


def mutations() -> list[Mutation]:
    """All patches of this folder."""
    return [_read(path) for path in sorted(Path(__file__).parent.glob("*.patch"))]


def _read(path: Path) -> Mutation:
    head = dict(
        line[2:].split(": ", 1)
        for line in path.read_text().splitlines()
        if line.startswith("# ") and ": " in line
    )
    return Mutation(path.stem, head["breaks"], tuple(head["tests"].split()), path)


def apply(mutation: Mutation, folder: Path, *options: str) -> None:
    """Apply the patch to the copy of the tree in that folder; CalledProcessError when it does not fit."""
    # One line of context is enough: what stands around the broken line changes more often than the line.
    command = ["git", "apply", "-C1", "--whitespace=nowarn", *options, str(mutation.patch)]
    beside = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder)}
    subprocess.run(command, cwd=folder, check=True, env=beside, capture_output=True)


def survives(mutation: Mutation) -> str:
    """'' when the tests fail under the patch as they must, else what pytest printed."""
    with tempfile.TemporaryDirectory(prefix="syncline-mutation-") as folder:
        for part in ("src", "tests", "services", "examples"):
            shutil.copytree(ROOT / part, Path(folder, part), ignore=LEFT_OUT)
        shutil.copy(ROOT / "pyproject.toml", folder)
        apply(mutation, Path(folder))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.tests]
        services = os.environ.get("SYNCLINE_SERVICES", str(ROOT / ".services"))
        changed = {"PYTHONPATH": f"{folder}/src:{folder}", "SYNCLINE_SERVICES": services}
        run = subprocess.run(
            command, cwd=folder, env=os.environ | changed, capture_output=True, text=True, check=False
        )
    # 1 is pytest's "tests ran and some failed"; anything else means that they did not run.
    return "" if run.returncode == 1 else run.stdout + run.stderr
