"""PostgreSQL, with everything on that logical replication needs; the user `syncline` is a superuser."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from .process import is_alive, kill, runs
from .server import Place, Server, ServiceError, install_package, run

SETTINGS = """
listen_addresses = '127.0.0.1'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_prepared_transactions = 10
fsync = off
full_page_writes = off
log_line_prefix = '%m [%p] %d %a '
"""


class Postgres(Server):
    """A PostgreSQL cluster. PostgreSQL refuses to run as root: then it runs as the user `postgres`."""

    owner = "postgres"

    def install(self) -> None:
        if _folder_of("postgres") is None:
            # The package would start a cluster of its own on the standard port.
            if os.geteuid() == 0:
                extra = Path("/etc/postgresql-common/createcluster.d")
                extra.mkdir(parents=True, exist_ok=True)
                (extra / "syncline.conf").write_text("create_main_cluster = false\n")
            install_package("postgresql")

    def make(self, place: Place) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".password") as secret:
            secret.write(place.password)
            secret.flush()
            if os.geteuid() == 0:
                shutil.chown(secret.name, self.owner)
            self._run(
                *("initdb", "--pgdata", _cluster(place), "--username=syncline", f"--pwfile={secret.name}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
            )
        own = f"port = {place.port}\nunix_socket_directories = '{place.data}'\n"
        with Path(_cluster(place), "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS + own)

    def launch(self, place: Place) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self._run("pg_ctl", "start", "--wait", "-D", _cluster(place), "-l", _log(place))
                return
            except ServiceError as error:
                # After a hard stop a backend may hold on to the shared memory for a moment.
                held = "still in use" in Path(_log(place)).read_text()[-2000:]
                if not held or time.monotonic() > deadline:
                    last = " ".join(Path(_log(place)).read_text().splitlines()[-3:])
                    raise ServiceError(f"{error}; {_log(place)} ends with {last}") from None
                time.sleep(0.2)

    def halt(self, place: Place, *, hard: bool) -> None:
        pid = self.process(place)
        if pid is None:
            return
        if not hard:
            self._run("pg_ctl", "stop", "--wait", "-D", _cluster(place), "-m", "fast")
            return
        family = [pid, *_children(pid)]
        for member in family:  # the postmaster first: it must not live to see a child die and clean up
            kill(member)
        while any(map(is_alive, family)):
            time.sleep(0.01)
        # Where no init reaps it, the dead postmaster's process id stays taken and bars the next start.
        for lock in (f"{_cluster(place)}/postmaster.pid", f"{place.data}/.s.PGSQL.{place.port}.lock"):
            Path(lock).unlink(missing_ok=True)

    def process(self, place: Place) -> int | None:
        try:
            pid = int(Path(_cluster(place), "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if is_alive(pid) and runs(pid, "postgres") else None

    def address(self, place: Place) -> str:
        return f"postgresql://syncline:{place.password}@127.0.0.1:{place.port}/postgres"

    @property
    def cluster(self) -> Path:
        """The folder of the cluster, as a physical backup has it while the server is stopped."""
        place = self._place()
        if place is None:
            raise ServiceError(f"{self.name} is not made")
        return Path(_cluster(place))

    def _run(self, program: str, *arguments: str) -> None:
        run([program_of(program), *arguments], owner=self.owner)


class Standby(Postgres):
    """A standby of a server that runs, until `promote`."""

    def __init__(self, name: str, primary: Server) -> None:
        super().__init__(name)
        self._primary = primary

    def make(self, place: Place) -> None:
        self._run(
            *("pg_basebackup", "--pgdata", _cluster(place), "--dbname", self._primary.url),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )
        own = f"port = {place.port}\nunix_socket_directories = '{place.data}'\n"
        with Path(_cluster(place), "postgresql.conf").open("a") as settings:
            settings.write(own)

    def address(self, place: Place) -> str:
        """With the password that it has from its primary."""
        password = urlsplit(self._primary.url).password
        return f"postgresql://syncline:{password}@127.0.0.1:{place.port}/postgres"

    def promote(self) -> None:
        """Let it be a primary of its own, on another timeline."""
        self._run("pg_ctl", "promote", "--wait", "-D", str(self.cluster))


def program_of(name: str) -> str:
    """The path of one of PostgreSQL's programs; ServiceError when it is not installed."""
    folder = _folder_of(name)
    if folder is None:
        raise ServiceError(f"{name} is not installed")
    return f"{folder}/{name}"


def _cluster(place: Place) -> str:
    return f"{place.data}/cluster"


def _log(place: Place) -> str:
    return f"{place.data}/log"


def _folder_of(program: str) -> str | None:
    """The folder of the newest installation that has this server program."""
    on_path = shutil.which(program)
    if on_path and shutil.which("initdb", path=os.path.dirname(on_path)):
        return os.path.dirname(on_path)
    found = glob.glob(f"/usr/lib/postgresql/*/bin/{program}")
    return os.path.dirname(max(found, key=lambda path: float(path.split("/")[4]))) if found else None


def _children(pid: int) -> list[int]:
    children = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = Path(stat).read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            children.append(int(re.findall(r"\d+", stat)[0]))
    return children


SERVERS = (Postgres("postgres"), Postgres("postgres-b"))
