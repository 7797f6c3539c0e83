"""The loops that run per row and per byte, compiled where there was a compiler at the installation.

Each kernel is one file of plain Python and one `.pxd` of the same name that gives its variables C types
(Cython, "Augmenting .pxd"). Where nothing could be compiled the same file runs as it is: slower, with the
same results and the same errors. Compiled code checks every index, as Python does.

In: messages and numbers as lists, bytes and buffers. Out: buffers that Arrow arrays are made of. May import
errors and the standard library only.

    binjson      MySQL's binary JSON to its text
    binlog       row events of the log of MySQL and MariaDB to columns
    pgoutput     row messages of PostgreSQL's log to columns
    fold         several changes of a key to one
"""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

KERNELS: Final = ("binjson", "binlog", "fold", "pgoutput")

FORCED: Final = "SYNCLINE_KERNELS"
"""The environment variable that, set to `python`, leaves what is compiled aside."""


def uncompiled(name: str) -> ModuleType:
    """A fresh module of a kernel's source, whether or not it is compiled as well."""
    spec = spec_from_file_location(f"{__name__}.{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if os.environ.get(FORCED) == "python":
    sys.modules.update({f"{__name__}.{name}": uncompiled(name) for name in KERNELS})

from . import binjson, binlog, fold, pgoutput  # noqa: E402

COMPILED: Final = not any(
    str(kernel.__file__).endswith(".py") for kernel in (binjson, binlog, fold, pgoutput)
)
"""Whether the kernels in use are compiled."""
