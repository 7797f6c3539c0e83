"""Which form of the kernels runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncline import kernels

from .both import kernel, library

SHOW = (
    "from syncline import kernels; print(kernels.COMPILED, kernels.fold.__file__, kernels.pgoutput.__file__)"
)


def shown(forced: str) -> list[str]:
    environment = os.environ | {kernels.FORCED: forced}
    done = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, check=True)
    return done.stdout.decode().split()


@pytest.mark.parametrize("name", kernels.KERNELS)
def test_kernels_are_compiled_from_the_source_that_is_here(name: str) -> None:
    kernel(name, "compiled")
    compiled = library(name)
    assert compiled is not None
    for suffix in (".py", ".pxd"):
        source = Path(kernels.__file__).with_name(name + suffix)
        assert source.stat().st_mtime <= compiled.stat().st_mtime, f"{source.name} changed: make .venv/ready"


def test_compiled_kernels_are_used_unless_told_otherwise() -> None:
    here, *files = shown("")
    assert here == str(all(library(name) for name in kernels.KERNELS))
    assert all(file.endswith(".py") == (here == "False") for file in files)
    here, *files = shown("python")
    assert here == "False"
    assert all(file.endswith(".py") for file in files)
