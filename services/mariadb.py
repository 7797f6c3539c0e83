"""MariaDB, with all that following its log needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .mysqld import Mysqld
from .server import ServiceError, install_package, run

FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


class MariaDB(Mysqld):
    """A MariaDB server. The package `mariadb-server-core` has its programs and starts nothing by itself."""

    scheme = "mariadb"
    settings = "binlog-format = ROW\ngtid-strict-mode = ON\ninnodb-log-file-size = 16M\n"

    def install(self) -> None:
        if not _path("mariadbd") or not _path("mariadb-install-db"):
            install_package("mariadb-server-core")

    def program(self) -> list[str]:
        found = _path("mariadbd")
        if found is None:
            raise ServiceError("mariadbd is not installed")
        return [found]

    def build(self) -> str:
        return run([*self.program(), "--version"]).split("Ver ", 1)[-1].split()[0]

    def fill(self, data: Path) -> None:
        install = _path("mariadb-install-db") or "mariadb-install-db"
        small = "--innodb-log-file-size=16M"
        run([install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=socket",
             small, *self.as_user()])  # fmt: skip


def _path(program: str) -> str | None:
    return shutil.which(program, path=FOLDERS)


SERVERS = (MariaDB("mariadb"),)
