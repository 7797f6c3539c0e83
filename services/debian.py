"""Programs that only a newer Debian has, unpacked into a folder beside the system, which is left as it is.

They are run through that folder's own loader and libraries. A folder is named by what it was made from, lies
outside the checkout, and is found by every later checkout without a download: `XDG_CACHE_HOME`, else
`~/.cache`, for root `/var/cache`, where the users can read that servers run as.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .server import ServiceError, run

SUITES = ("trixie", "sid")


class Unavailable(ServiceError):
    """The package is not here and cannot be downloaded."""


def cache() -> Path:
    """The folder of what can be made again, but not quickly."""
    default = "/var/cache" if os.geteuid() == 0 else "~/.cache"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or default).expanduser() / "syncline"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Inside the `with` no other process is in one for the same thing of the cache."""
    with (cache() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpacked(package: str) -> Path:
    """The folder that holds a package and all that it needs, the loader included. Unavailable where it is
    neither there nor can be downloaded."""
    with alone(package):
        found = sorted(cache().glob(f"{package}-*/"))
        if found:
            return found[-1]
        try:
            return _download(package)
        except ServiceError as error:
            raise Unavailable(f"{package} cannot be downloaded: {error}") from None


def command(tree: Path, program: str) -> list[str]:
    """What runs a program of that folder with its own libraries."""
    loaders = sorted(tree.glob("**/ld-linux-*.so.*"))
    if not loaders:
        raise ServiceError(f"no loader lies in {tree}; delete that folder")
    libraries = sorted({str(path.parent) for path in tree.glob("usr/lib/**/*.so.*")})
    return [str(loaders[0]), "--library-path", ":".join(libraries), str(tree / program)]


def _download(package: str) -> Path:
    if not shutil.which("apt-get"):
        raise ServiceError("apt-get is missing; name a server in the environment (services/__init__.py)")
    with tempfile.TemporaryDirectory(dir=cache(), prefix="new-") as folder:
        state = Path(folder, "apt")
        options = _private(state)
        run(["apt-get", "-q", *options, "update"])
        install = ["install", "--yes", "--no-install-recommends", "--download-only", package]
        run(["apt-get", "-q", *options, *install])
        debs = sorted(state.glob("archives/*.deb"))
        made = hashlib.sha256()
        tree = Path(folder, "tree")
        for deb in debs:
            made.update(hashlib.sha256(deb.read_bytes()).digest())
            run(["dpkg", "-x", str(deb), str(tree)])
        tree.chmod(0o755)
        return tree.rename(cache() / f"{package}-{made.hexdigest()[:16]}")


def _private(state: Path) -> list[str]:
    """Options under which apt knows newer suites and no installed package, and touches only this folder."""
    for folder in ("lists/partial", "archives/partial", "parts"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    lines = [f"deb {_mirror()} {suite} main\n" for suite in SUITES]
    (state / "sources.list").write_text("".join(lines))
    where = {
        "State": state,
        "State::lists": state / "lists",
        "State::status": state / "status",
        "Cache": state,
        "Cache::archives": state / "archives",
        "Etc::sourcelist": state / "sources.list",
        "Etc::sourceparts": state / "parts",
        "Etc::preferencesparts": state / "parts",
    }
    options = [f"Dir::{name}={path}" for name, path in where.items()]
    return [word for option in (*options, "APT::Sandbox::User=root") for word in ("-o", option)]


def _mirror() -> str:
    """Where this system takes Debian's packages from."""
    told = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    )
    if not told.strip():
        raise ServiceError("apt-get knows no mirror of Debian; run: apt-get update")
    return told.split()[0]
