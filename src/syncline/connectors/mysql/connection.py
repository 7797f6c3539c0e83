"""The URL of a server, the login, and what a server's error means.

PyMySQL logs in and runs statements. Rights and settings of the session are the caller's.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import NeedsOperator, Refused, SynclineError, Transient

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS: Final = 10

_PASSING: Final = {
    1040,
    1042,
    1053,
    1077,
    1080,
    1152,
    1158,
    1159,
    1160,
    1161,
    1205,
    1213,
    2002,
    2003,
    2006,
    2013,
}
"""Errors that pass: too many sessions, a server that starts or ends, a lost connection, a deadlock."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who asks. The password is in no `repr`."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address that a URL names. Refused for what is none."""
        try:
            parts = urlsplit(url)
            port = parts.port or 3306
        except ValueError as error:
            raise Refused(
                "read", "the URL", str(error), "write it as mysql://USER@HOST:PORT/DATABASE"
            ) from None
        if unknown := sorted(parse_qs(parts.query, keep_blank_values=True)):
            raise Refused("read", "the URL", f"it has the unknown option {unknown[0]}")
        return cls(
            parts.hostname or "127.0.0.1",
            port,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            unquote(parts.path.lstrip("/")),
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def log_in(address: Address) -> Any:
    """A session of PyMySQL in autocommit mode. Refused when the server refuses the user, Transient when it
    cannot be reached."""
    try:
        import pymysql
    except ImportError:
        raise Refused(
            "open", str(address), "PyMySQL is not installed", "run: pip install 'syncline[mysql]'"
        ) from None
    with errors("connect to", str(address)):
        return pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database or None,
            connect_timeout=CONNECT_SECONDS,
            charset="utf8mb4",
            autocommit=True,
        )


def ask(session: Any, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    with errors("ask", "the server"), session.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


@contextmanager
def errors(operation: str, subject: str) -> Iterator[None]:
    """What PyMySQL raises becomes an error of ours."""
    import pymysql

    try:
        yield
    except pymysql.MySQLError as error:
        code, message = (*error.args, "", "")[:2]
        raise meaning(
            operation, subject, code if isinstance(code, int) else 0, str(message or code)
        ) from None
    except (OSError, EOFError) as error:
        raise Transient(operation, subject, str(error) or "the connection was lost") from None


def meaning(operation: str, subject: str, code: int, message: str) -> SynclineError:
    """What an error of the server means for who was doing that."""
    if code in _PASSING or not code:
        return Transient(operation, subject, message)
    if code in (1044, 1045, 1049, 1698, 1251, 2059, 2061):
        return Refused(operation, subject, message, "look at the URL's user, password and database")
    if code == 1227:
        return NeedsOperator(
            operation, subject, message, "run: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the user"
        )
    return NeedsOperator(operation, subject, f"{message} (error {code})")
