"""Compiles the kernels where there is a compiler; without one the same files run as they are.

Everything else about the package is in pyproject.toml.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

kernels = [
    Extension(f"syncline.kernels.{types.stem}", [types.with_suffix(".py").as_posix()])
    for types in sorted(Path("src/syncline/kernels").glob("*.pxd"))
]
extensions = cythonize(
    kernels,
    build_dir="build",
    compiler_directives={
        "language_level": 3,
        "annotation_typing": False,  # the types are in the .pxd files
        "boundscheck": True,
        "wraparound": False,
        "initializedcheck": True,
    },
)
for extension in extensions:
    extension.optional = True  # cythonize makes new ones, and copies no such thing
setup(ext_modules=extensions)
