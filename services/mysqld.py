"""What MariaDB and MySQL servers have in common: how one is filled, started and ended.

The log of changes is on, whole rows with full metadata; the user `syncline` may do everything, over TCP.
A fresh data folder is a copy of one that was made once and lies in the cache.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from abc import abstractmethod
from pathlib import Path

from .debian import alone, cache
from .process import is_alive, kill, runs
from .server import Place, Server, ServiceError, run

START_SECONDS = 60

SETTINGS = """
[mysqld]
bind-address = 127.0.0.1
skip-name-resolve
log-bin = binlog
server-id = 1
binlog-row-image = FULL
binlog-row-metadata = FULL
sync-binlog = 0
local-infile = ON
max-allowed-packet = 1G
innodb-buffer-pool-size = 64M
innodb-flush-log-at-trx-commit = 2
innodb-doublewrite = OFF
character-set-server = utf8mb4
"""


class Mysqld(Server):
    """A server of the MySQL family. It does not run as root: then it runs as the user `daemon`."""

    owner = "daemon"
    scheme: str
    settings: str

    @abstractmethod
    def program(self) -> list[str]:
        """What runs the server program."""

    @abstractmethod
    def build(self) -> str:
        """A name of what makes the system tables, which is another where they are others."""

    @abstractmethod
    def fill(self, data: Path) -> None:
        """Make the system tables in an empty folder."""

    def options(self) -> list[str]:
        """Where the server program finds its own files, if they are not at their usual place."""
        return []

    def make(self, place: Place) -> None:
        self._copy_template(place)
        own = f"port = {place.port}\ndatadir = {_tables(place)}\nsocket = s\npid-file = {_pid_file(place)}\n"
        files = f"log-error = {_log(place)}\ninit-file = {place.data}/init.sql\n"
        _write(Path(place.data, "server.cnf"), SETTINGS + self.settings + own + files)
        # Every start sets the password, which a copied folder cannot know.
        user = "'syncline'@'127.0.0.1'"
        _write(
            Path(place.data, "init.sql"),
            "SET sql_log_bin = 0;\n"
            "CREATE DATABASE IF NOT EXISTS test;\n"
            f"CREATE USER IF NOT EXISTS {user};\n"
            f"ALTER USER {user} IDENTIFIED BY '{place.password}';\n"
            f"GRANT ALL ON *.* TO {user} WITH GRANT OPTION;\n",
        )
        self._give(Path(place.data))

    def launch(self, place: Place) -> None:
        Path(_log(place)).unlink(missing_ok=True)
        command = [
            *self.program(),
            f"--defaults-file={place.data}/server.cnf",
            *self.options(),
            *self.as_user(),
        ]
        # A session of its own: Ctrl-C is for the tests, not for the server under them.
        run(["sh", "-c", 'exec setsid --fork "$@" >"$0" 2>&1', f"{place.data}/said", *command])
        deadline = time.monotonic() + START_SECONDS
        while not _answers(place.port):
            last = _last_words(place)
            if "Aborting" in last or time.monotonic() > deadline:
                raise ServiceError(f"{self.name} does not start; {_log(place)} ends with {last}")
            time.sleep(0.02)

    def halt(self, place: Place, *, hard: bool) -> None:
        pid = self.process(place)
        if pid is None:
            return
        kill(pid, signal.SIGKILL if hard else signal.SIGTERM)
        while is_alive(pid):
            time.sleep(0.01)
        # Where no init reaps it, the dead server's process id stays taken and bars the next start.
        for left in (_pid_file(place), f"{_tables(place)}/s.lock"):
            Path(left).unlink(missing_ok=True)

    def process(self, place: Place) -> int | None:
        try:
            pid = int(Path(_pid_file(place)).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if is_alive(pid) and runs(pid, place.data) else None

    def address(self, place: Place) -> str:
        return f"{self.scheme}://syncline:{place.password}@127.0.0.1:{place.port}/test"

    def as_user(self) -> list[str]:
        """The option that lets the server step down from root."""
        return [f"--user={self.owner}"] if os.geteuid() == 0 else []

    def _copy_template(self, place: Place) -> None:
        template = cache() / f"{self.scheme}-{self.build()}"
        with alone(self.scheme):
            if not template.exists():
                with tempfile.TemporaryDirectory(dir=cache(), prefix="new-") as folder:
                    made = Path(folder, "tables")
                    made.mkdir()
                    Path(folder).chmod(0o755)
                    self._give(made)
                    self.fill(made)
                    # Each copy makes its own identity at its first start.
                    (made / "auto.cnf").unlink(missing_ok=True)
                    made.rename(template)
        run(["cp", "-R", "--sparse=always", str(template), _tables(place)])

    def _give(self, folder: Path) -> None:
        if os.geteuid() == 0:
            run(["chown", "-R", f"{self.owner}:{self.owner}", str(folder)])


def _tables(place: Place) -> str:
    return f"{place.data}/tables"


def _log(place: Place) -> str:
    return f"{place.data}/log.err"


def _pid_file(place: Place) -> str:
    return f"{place.data}/pid"


def _last_words(place: Place) -> str:
    words = [Path(place.data, file) for file in ("said", "log.err")]
    return " ".join(" ".join(path.read_text().splitlines()[-3:]) for path in words if path.exists())


def _answers(port: int) -> bool:
    """Whether the server greets who connects: it does when its start is over."""
    with socket.socket() as probe:
        probe.settimeout(5)
        try:
            probe.connect(("127.0.0.1", port))
            return bool(probe.recv(1))
        except OSError:
            return False


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
