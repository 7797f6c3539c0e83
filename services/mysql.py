"""MySQL as the newest Debian has it, with all that following its log needs."""

from __future__ import annotations

from pathlib import Path

from .debian import command, unpacked
from .mysqld import Mysqld
from .server import run

PACKAGE = "mysql-server-core"
PROGRAM = "usr/sbin/mysqld"


class MySQL(Mysqld):
    """A MySQL server, from a folder of its own."""

    scheme = "mysql"
    settings = (
        "gtid-mode = ON\nenforce-gtid-consistency = ON\nmysqlx = OFF\nsecure-file-priv = NULL\n"
        "innodb-redo-log-capacity = 32M\n"
    )

    def install(self) -> None:
        unpacked(PACKAGE)

    def program(self) -> list[str]:
        return command(unpacked(PACKAGE), PROGRAM)

    def options(self) -> list[str]:
        tree = unpacked(PACKAGE)
        return [
            f"--lc-messages-dir={tree}/usr/share/mysql",
            f"--character-sets-dir={tree}/usr/share/mysql/charsets",
            f"--plugin-dir={tree}/usr/lib/mysql/plugin",
        ]

    def build(self) -> str:
        return unpacked(PACKAGE).name.rpartition("-")[2] + "-tables"

    def fill(self, data: Path) -> None:
        small = "--innodb-redo-log-capacity=32M"
        begin = [*self.program(), "--no-defaults", *self.options(), "--initialize-insecure"]
        run([*begin, f"--datadir={data}", "--mysqlx=OFF", "--secure-file-priv=NULL", small, *self.as_user()])


SERVERS = (MySQL("mysql"),)
