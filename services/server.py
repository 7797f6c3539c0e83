"""What every test server has: a folder, a port, a lock, and a life from `start` to `remove`."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "SYNCLINE_SERVICES"


class ServiceError(Exception):
    """A server cannot be made, started or found; one line that says why."""


@dataclass(frozen=True)
class Place:
    """Where a made server lives, as remembered in its folder."""

    data: str
    port: int
    password: str


class Server(ABC):
    """A server of its own folder and port. Making an object touches nothing; every call is safe to repeat
    and safe beside other processes that do the same."""

    def __init__(self, name: str) -> None:
        self.name = name

    # What a kind of server says of itself.

    @abstractmethod
    def install(self) -> None:
        """Find the programs, installing them when they are missing and may be installed."""

    @abstractmethod
    def make(self, place: Place) -> None:
        """Fill the empty data folder so that `launch` can start the server."""

    @abstractmethod
    def launch(self, place: Place) -> None:
        """Start the server and return once it takes connections. It must inherit no descriptor."""

    @abstractmethod
    def halt(self, place: Place, *, hard: bool) -> None:
        """End the server and wait until it is gone; `hard`: as if the power had failed."""

    @abstractmethod
    def process(self, place: Place) -> int | None:
        """The process id of the running server; None when it does not run."""

    @abstractmethod
    def address(self, place: Place) -> str:
        """The URL of the server's first database, for a user that may do everything."""

    owner: str | None = None
    """The system user that the data folder must belong to when root makes it."""

    # What tests and the command line use.

    @property
    def external(self) -> str | None:
        """The URL of the environment that stands in for this server; None: the server is made here."""
        return os.environ.get(f"SYNCLINE_{self.name.upper().replace('-', '_')}_URL")

    @property
    def url(self) -> str:
        """The URL of the server's first database; ServiceError when the server was never started."""
        if self.external:
            return self.external
        place = self._place()
        if place is None:
            raise ServiceError(f"{self.name} is not made; run: python -m services up {self.name}")
        return self.address(place)

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        place = self._place()
        return bool(self.external) or (place is not None and self.process(place) is not None)

    def start(self, *, keep: bool = False) -> None:
        """Make the server if it was never made and start it if it does not run, always on the same port;
        returns when it takes connections. With `keep` only `remove` ends it, no test session."""
        if self.external:
            return
        with self._locked():
            place = self._place() or self._make()
            if self.process(place) is None:
                self.install()
                self.launch(place)
            if keep:
                (self.folder / "keep").touch()

    def stop(self) -> None:
        """Stop the server in order; its data stays."""
        self._halt(hard=False)

    def kill(self) -> None:
        """Stop the server as a power failure would: SIGKILL, nothing is said to anybody."""
        self._halt(hard=True)

    def remove(self) -> None:
        """Stop the server and delete all of it."""
        if self.external:
            return
        with self._locked():
            place = self._place()
            if place is not None:
                self.halt(place, hard=True)
                shutil.rmtree(place.data, ignore_errors=True)
            for left in ("place.json", "keep"):
                (self.folder / left).unlink(missing_ok=True)

    def status(self) -> str:
        """One line: whether it runs, and where."""
        if self.external:
            return "taken from the environment"
        place = self._place()
        if place is None:
            return "not made"
        pid = self.process(place)
        return f"port {place.port} data {place.data} " + (f"pid {pid}" if pid else "stopped")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The server runs inside the `with`. The last one out removes it, unless `up` made it stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            self.start()
            try:
                yield
            finally:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # another session still works with it
                else:
                    if not (self.folder / "keep").exists():
                        self.remove()

    @property
    def folder(self) -> Path:
        """Where this server is remembered."""
        default = Path(__file__).resolve().parent.parent / ".services"
        return Path(os.environ.get(VARIABLE) or default).absolute() / self.name

    def _halt(self, *, hard: bool) -> None:
        if self.external:
            raise ServiceError(f"{self.name} comes from the environment and is not stopped from here")
        with self._locked():
            place = self._place()
            if place is not None:
                self.halt(place, hard=hard)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Python opens files non-inheritable, so the lock ends with this process even while the server,
        # started inside the `with`, lives on.
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _place(self) -> Place | None:
        try:
            place = Place(**json.loads((self.folder / "place.json").read_text()))
        except FileNotFoundError:
            return None
        return place if Path(place.data).is_dir() else None

    def _make(self) -> Place:
        self.install()
        data = _own_folder(self.folder, self.name, self.owner)
        place = Place(data=str(data), port=free_port(), password=secrets.token_hex(8))
        try:
            self.make(place)
        except BaseException:
            shutil.rmtree(data, ignore_errors=True)
            raise
        memo = self.folder / "place.new"
        memo.touch(mode=0o600)
        memo.write_text(json.dumps(asdict(place)))
        memo.replace(self.folder / "place.json")
        return place


def _own_folder(folder: Path, name: str, owner: str | None) -> Path:
    """An empty data folder. For root it lies in the temporary folder, where `owner` can reach it, as the
    way to the checkout often leads through a home that only root may enter."""
    import tempfile

    if owner is None or os.geteuid() != 0:
        data = folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        return data
    data = Path(tempfile.mkdtemp(prefix=f"syncline-{name}-"))
    shutil.chown(data, owner, owner)
    return data


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(command: Sequence[str], *, owner: str | None = None) -> str:
    """Run a program to its end, as another system user when root is to step down; its output.
    ServiceError with the program's last words when it fails."""
    if owner is not None and os.geteuid() == 0:
        command = ["runuser", "-u", owner, "--", *command]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stdout.strip().splitlines()[-5:])
        raise ServiceError(f"{' '.join(command[:6])} … ended with {done.returncode}: {said}")
    return done.stdout


def install_package(*packages: str) -> None:
    """Install Debian packages when root; ServiceError where that is not possible."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ServiceError(
            f"{' '.join(packages)} is missing; install it, put its programs on the PATH, "
            "or name a server in the environment (see services/__init__.py)"
        )
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    run([*quiet, "update"])
    run([*quiet, "install", "-y", "--no-install-recommends", *packages])
