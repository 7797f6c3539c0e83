"""Both forms of each kernel, whichever the process runs."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from syncline import kernels

FORMS = ("compiled", "uncompiled")


def library(name: str) -> Path | None:
    """The file of a compiled kernel."""
    folder = Path(kernels.__file__).parent
    found = (folder / f"{name}{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((path for path in found if path.exists()), None)


def kernel(name: str, form: str) -> ModuleType:
    """A kernel in that form. Where there is a compiler it has to have been compiled."""
    if form == "uncompiled":
        return kernels.uncompiled(name)
    path = library(name)
    if path is None:
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler} is here to compile the kernels", allow_module_level=True)
        pytest.fail(f"kernel {name} is not compiled though {compiler} is here: make .venv/ready")
    if kernels.COMPILED:
        return import_module(f"syncline.kernels.{name}")
    loader = ExtensionFileLoader(f"syncline.kernels.{name}", str(path))
    spec = spec_from_file_location(loader.name, path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def each_form(name: str, user: str) -> Callable[..., Iterator[None]]:
    """A fixture under which every test of a module runs once with each form of a kernel; `user` is the
    module that knows the kernel as `kernel`."""

    @pytest.fixture(autouse=True, scope="module", params=FORMS)
    def form(request: pytest.FixtureRequest) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{user}.kernel", kernel(name, request.param))
            yield

    return form
