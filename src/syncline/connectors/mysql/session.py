"""Sessions with a server of the MySQL family, and what its errors mean.

In: a URL in SQLAlchemy's form. Out: PyMySQL connections whose settings make the text of every value exact
and the same everywhere, and errors of ours without a password.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.constants import CLIENT, COMMAND
from pymysql.cursors import SSCursor

from ...errors import Corruption, NeedsOperator, Refused, SynclineError, Transient, Unfit

Row = tuple[bytes | None, ...]

CONNECT_SECONDS: Final = 10.0
CANCEL_AGAIN_SECONDS: Final = 0.05
LOCK_SECONDS: Final = 30
IDLE_SECONDS: Final = 60
"""How long a transaction may stand idle before the server ends its session."""

_MODES: Final = {
    "disabled": None,
    "preferred": ssl.CERT_NONE,
    "required": ssl.CERT_NONE,
    "verify_ca": ssl.CERT_REQUIRED,
    "verify_identity": ssl.CERT_REQUIRED,
}

# Strict, so that what does not fit is an error; zero is a number like any other, also in an AUTO_INCREMENT
# column; zero and partial dates are values, as they are wherever one comes from.
MODE: Final = "STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"

SETTINGS: Final = (
    f"SET sql_mode = '{MODE}', time_zone = '+00:00', character_set_results = utf8mb4,"
    " foreign_key_checks = 0, unique_checks = 1, sql_notes = 1,"
    f" lock_wait_timeout = {LOCK_SECONDS}, innodb_lock_wait_timeout = {LOCK_SECONDS},"
    " wait_timeout = 28800, net_read_timeout = 600, net_write_timeout = 86400,"
    " sql_auto_is_null = 0, sql_safe_updates = 0, sql_select_limit = DEFAULT, autocommit = 1"
)


class Address:
    """A database's URL. Raises Refused for one that makes no sense."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self.port = parts.port or 3306
        except ValueError:
            raise _bad_url("it is not a URL", "") from None
        self.host = parts.hostname or "localhost"
        self.user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self.database = unquote(parts.path.lstrip("/"))
        self._scheme = parts.scheme.partition("+")[0]
        if self._scheme not in ("mysql", "mariadb"):
            raise _bad_url("it is not a URL of MySQL or MariaDB", "")
        if not self.database:
            raise _bad_url("it names no database", self.name)
        given = {name.replace("-", "_"): value for name, value in parse_qsl(parts.query)}
        self.socket = given.pop("unix_socket", None)
        self.connect_seconds = float(given.pop("connect_timeout", CONNECT_SECONDS))
        given.pop("charset", None)  # every session reads and writes utf8mb4
        self._tls = {name: given.pop(name) for name in list(given) if name.startswith("ssl_")}
        if given:
            raise _bad_url(f"it has an unknown parameter {next(iter(given))}", self.name)
        self._mode = self._tls.get("ssl_mode", self._usual_mode()).lower()
        if self._mode not in _MODES:
            raise _bad_url(f"ssl_mode={self._mode} is none of {', '.join(_MODES)}", self.name)

    def __repr__(self) -> str:
        return f"Address({self.name!r})"

    @property
    def name(self) -> str:
        """The URL for messages: user, host, port and database."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port != 3306 else ""
        return f"{self._scheme}://{user}{host}{port}/{self.database}"

    @property
    def is_local(self) -> bool:
        """Whether the way to the server is loopback or a socket."""
        if self.socket or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def tls_fault(self) -> str:
        """What TLS does not protect on the way to a server elsewhere; '' when it does or there is no way."""
        if self.is_local or self._mode == "verify_identity":
            return ""
        if self._mode in ("disabled", "preferred"):
            return f"with ssl_mode={self._mode} passwords and rows may travel unencrypted"
        return f"with ssl_mode={self._mode} nobody verifies that it is this server that answers"

    def _usual_mode(self) -> str:
        return "disabled" if self.is_local and not self._tls else "verify_identity"

    def options(self) -> dict[str, Any]:
        """What PyMySQL connects with. LOCAL_FILES lets our own LOAD DATA send rows; as `local_infile` stays
        off, no file is ever sent, whatever the server asks for."""
        place: dict[str, Any] = {"unix_socket": self.socket} if self.socket else {}
        return {
            **place,
            **self._secured(),
            "host": self.host,
            "port": self.port,
            "user": self.user or None,
            "password": self._password.encode(),
            "database": self.database,
            "charset": "utf8mb4",
            "use_unicode": False,
            "conv": {},
            "autocommit": None,
            "connect_timeout": self.connect_seconds,
            "client_flag": CLIENT.LOCAL_FILES,
            "init_command": SETTINGS,
            "program_name": "syncline",
            "defer_connect": True,
        }

    def _secured(self) -> dict[str, Any]:
        if self._mode == "disabled":
            return {"ssl_disabled": True}
        if self._mode == "preferred":
            return {}
        try:
            context = ssl.create_default_context(cafile=self._tls.get("ssl_ca"))
            context.check_hostname = self._mode == "verify_identity"
            context.verify_mode = _MODES[self._mode] or ssl.CERT_NONE
            if certificate := self._tls.get("ssl_cert"):
                context.load_cert_chain(certificate, self._tls.get("ssl_key"))
        except OSError as error:
            raise _bad_url(f"its certificates cannot be read: {error.strerror or error}", self.name) from None
        return {"ssl": context}


def _bad_url(why: str, name: str) -> Refused:
    return Refused("open", name or "the URL", why, "write mysql://USER@HOST/DATABASE")


@dataclass(frozen=True, slots=True)
class Server:
    """What differs between servers. `exact`: the collation that tells any two texts apart, blanks at their
    ends included. `loads`: rows may come by LOAD DATA LOCAL. `cut`: the largest statement in bytes."""

    mariadb: bool
    exact: str
    loads: bool
    cut: int


class Session:
    """One connection; for one thread at a time."""

    def __init__(self, address: Address) -> None:
        self._db: Any = pymysql.connect(**address.options())
        self._db.connect()
        self.id = int(self._db.thread_id())
        try:
            self.server = self._ask()
        except BaseException:
            self.close()
            raise

    def _ask(self) -> Server:
        query = "SELECT version(), @@local_infile, @@max_allowed_packet"
        ((version, loads, cut),) = self.rows(query)
        mariadb = "mariadb" in version.lower()
        # What the one has the other knows nothing of: limits for statements, and a cache of statistics.
        own = "max_statement_time = 0" if mariadb else "max_execution_time = 0"
        self.run(f"SET {own}")
        if not mariadb:
            self.run("SET information_schema_stats_expiry = 0")
        self.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        exact = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
        return Server(mariadb, exact, loads == "1", min(int(cut), 64 << 20) - 4096)

    @property
    def alive(self) -> bool:
        """Whether the connection is not known to be lost."""
        return bool(self._db.open)

    @property
    def busy(self) -> bool:
        """Whether a result is still being read."""
        result = self._db._result
        return result is not None and bool(result.unbuffered_active)

    @property
    def warned(self) -> int:
        """How many warnings the last statement has."""
        return int(self._db._result.warning_count)

    def run(self, sql: str | bytes) -> int:
        """Run one statement; the rows that it changed or found."""
        statement = sql.encode() if isinstance(sql, str) else sql
        return int(self._db.query(statement))

    def raw(self, sql: str) -> list[Row]:
        """All rows of a query, each cell as the server's bytes."""
        with self._db.cursor() as cursor:
            cursor.execute(sql.encode())
            return list(cursor.fetchall())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query, each cell as text or None."""
        return [tuple(None if cell is None else cell.decode() for cell in row) for row in self.raw(sql)]

    def value(self, sql: str) -> str | None:
        """The first cell of the first row, None when there is none."""
        found = self.rows(sql)
        return found[0][0] if found else None

    def stream(self, sql: str) -> Any:
        """A cursor over rows that the server sends as they are read."""
        cursor = self._db.cursor(SSCursor)
        cursor.execute(sql.encode())
        return cursor

    def load(self, sql: str, parts: Iterator[memoryview]) -> tuple[int, int]:
        """Run a LOAD DATA LOCAL that is fed by `parts`; how many rows it added, and how many warnings it has.
        The name of the file is the server's to say, and nobody looks at it (MySQL internals, "LOCAL INFILE
        Request")."""
        db = self._db
        db._execute_command(COMMAND.COM_QUERY, sql.encode())
        first = db._read_packet()
        if not first.is_load_local_packet():
            raise pymysql.err.InternalError(2027, "the server did not ask for the rows")
        try:
            for part in parts:
                for start in range(0, len(part), 1 << 20):
                    db.write_packet(part[start : start + (1 << 20)])
        finally:
            db.write_packet(b"")
            result = pymysql.connections.MySQLResult(db)
            result._read_ok_packet(db._read_packet())
            db._result = None
        return int(result.affected_rows), int(result.warning_count)

    def warnings(self) -> list[tuple[int, str]]:
        """The warnings of the last statement, or the first of them."""
        return [(int(code), text) for _, code, text in self.rows("SHOW WARNINGS")]

    def close(self) -> None:
        """End it, without a word where it is lost."""
        with contextlib.suppress(pymysql.err.Error, OSError):
            if self.busy:
                self._db._result.unbuffered_active = False  # else PyMySQL reads the rest
                self._db._force_close()
            elif self.alive:
                self._db.close()


class Sessions:
    """One lazily made session with the server, and the one way to end what runs on it.

    An interrupt ends the call that is between the ends of `mapped`, whatever statement it has come to; it
    does nothing when there is none.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session: Session | None = None
        self._interrupted = threading.Event()
        self._call = self._depth = 0

    @property
    def session(self) -> Session:
        """The session; made anew when the last one was lost."""
        if self._session is None or not self._session.alive:
            self._session = Session(self.address)
        return self._session

    @contextlib.contextmanager
    def mapped(self, operation: str, subject: str) -> Iterator[Session]:
        """The session; what goes wrong inside leaves as one of our errors."""
        if not self._depth:
            self._interrupted.clear()
            self._call += 1
        self._depth += 1
        try:
            yield self.session
        except (pymysql.err.Error, OSError, RuntimeError) as error:
            if self._interrupted.is_set():
                raise Transient(operation, subject, "it was interrupted") from None
            raise translated(error, operation, subject, self.address) from None
        finally:
            self._depth -= 1

    def interrupt(self) -> None:
        """From any thread, a signal's handler included: end the call that runs, on the server too."""
        if self._depth and not self._interrupted.is_set():
            self._interrupted.set()
            work = threading.Thread(target=self._cancel, args=(self._call,), name="cancel", daemon=True)
            work.start()

    def _cancel(self, call: int) -> None:
        """Kill the query until that call has ended: it may be between two of its statements."""
        while self._depth and self._call == call:
            running = self._session
            if running is None or not running.alive:
                return
            try:
                other = Session(self.address)
            except (pymysql.err.Error, OSError):
                running._db._force_close()
                return
            with contextlib.closing(other), contextlib.suppress(pymysql.err.Error, OSError):
                other.run(f"KILL QUERY {running.id}")
            time.sleep(CANCEL_AGAIN_SECONDS)

    def drop(self) -> None:
        """End the session; the next use makes another."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    close = drop


# What to do about an error, by its number (MySQL, "Server Error Message Reference"; MariaDB, "Error Codes").
_TRANSIENT: Final = {
    *(1040, 1053, 1077, 1078, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1317, 1614),
    *(1927, 1969, 2002, 2003, 2006, 2013, 2014, 2027, 2055, 3024, 3058, 3101, 3168, 3572, 4031),
}
_REFUSED: Final = {1044, 1045, 1049, 1130, 1142, 1143, 1211, 1227, 1251, 1370, 1410, 1524, 1698, 1820, 2059}
_READ_ONLY: Final = {1290, 1792, 1836, 3989}
_FULL: Final = {1021, 1114, 1030}
_UNFIT: Final = {
    *(1048, 1062, 1216, 1217, 1263, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1411, 1416),
    *(1441, 1451, 1452, 1526, 1557, 1569, 1586, 1644, 1690, 1748, 1761, 1762, 3140, 3141, 3143, 3144, 3156),
    *(3157, 3617, 3819, 4025, 4078),
}


def translated(error: Exception, operation: str, subject: str, address: Address) -> SynclineError:
    """A server's or PyMySQL's error as one of ours."""
    number, told = number_of(error), _told(error)
    if isinstance(error, OSError) or number in _TRANSIENT:
        return Transient(operation, subject, told)
    if isinstance(error, RuntimeError) and "LOAD_LOCAL" in told:
        return Corruption(operation, subject, "the server asked for a file that nobody offered")
    if isinstance(error, RuntimeError):
        return Refused(
            "connect to",
            address.name,
            "its password cannot be sent without TLS",
            "run pip install 'syncline[mysql]', or set ssl_mode=required in the URL",
        )
    if number in _READ_ONLY:
        return Refused(operation, subject, told, "the server is read-only: name its primary")
    if number in _REFUSED:
        remedy = "grant it" if number in (1142, 1143, 1227, 1370) else "check user, password and database"
        return Refused(operation, subject, told, remedy)
    if number in _FULL:
        return NeedsOperator(operation, subject, told, "free disk space at the server")
    if number in _UNFIT:
        return Unfit(operation, subject, told, "change the value at the source, or the table at the target")
    if number == 0:
        return Transient(operation, subject, told or "the connection was lost")
    return NeedsOperator(operation, subject, told)


def _told(error: Exception) -> str:
    if isinstance(error, pymysql.err.Error) and len(error.args) > 1:
        return str(error.args[1])
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def number_of(error: Exception) -> int:
    """The server's or PyMySQL's number of an error, 0 where it has none."""
    if isinstance(error, pymysql.err.Error) and error.args and isinstance(error.args[0], int):
        return int(error.args[0])
    return 0


def raise_unfit(warnings: Sequence[tuple[int, str]], subject: str) -> None:
    """LOAD DATA LOCAL makes warnings of errors: each of them is a row that is not what it was."""
    told = next((text for number, text in warnings if number in _UNFIT), None)
    first = told or (warnings[0][1] if warnings else "the server warned of a row")
    remedy = "change the value at the source, or the table at the target"
    raise Unfit("load", subject, first, remedy)
