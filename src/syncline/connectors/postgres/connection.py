"""Sessions with a PostgreSQL server, and what its errors mean.

In: a URL in libpq's form (PostgreSQL documentation, "Connection URIs"). Out: psycopg connections whose
settings make the text of every value exact and the same everywhere, and errors of ours without a password.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...errors import NeedsOperator, Refused, SynclineError, Transient, Unfit

Connection = psycopg.Connection[Any]

# What psycopg meets while it closes what is broken would stand on stderr; the errors of ours tell it.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

CONNECT_SECONDS: Final = 10.0
CANCEL_SECONDS: Final = 1.0
CANCEL_AGAIN_SECONDS: Final = 0.05
REHEARSAL_LOCK: Final = "2s"

# The first group makes a value's text exact and the same in every session; the second takes away what a
# role's or a database's own settings could do to a long run; row_security off turns rows that a policy
# would hide into an error.
SETTINGS: Final[Mapping[str, str]] = {
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read\\ committed",
    "default_transaction_read_only": "off",
    "row_security": "off",
}

# Where the systems in use keep the certificate authorities; libpq's own `system` knows only where its
# OpenSSL was built to look.
_AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class Address:
    """A database's URL. Raises Refused for one that makes no sense."""

    def __init__(self, url: str) -> None:
        plain = re.sub(r"^(postgres(?:ql)?)\+\w+:", r"\1:", url)
        try:
            self._members: dict[str, Any] = conninfo_to_dict(plain)
        except psycopg.Error as error:
            # The message may quote the URL from anywhere on, password included.
            why = str(error) if re.search(r'parameter: "\w+"', str(error)) else "it is not a PostgreSQL URL"
            raise Refused(
                "open", _without_password(plain), why, "write postgresql://USER@HOST/DATABASE"
            ) from None
        self._members |= _verified_tls(self._members)

    @property
    def name(self) -> str:
        """The URL for messages: user, host, port and database."""
        members = self._members
        user = f"{members['user']}@" if members.get("user") else ""
        host = str(members.get("host") or "")
        host = f"[{host}]" if ":" in host else "" if host.startswith("/") else host
        port = f":{members['port']}" if members.get("port") and host else ""
        return f"postgresql://{user}{host}{port}/{members.get('dbname') or ''}"

    def conninfo(self, application: str = "syncline", **more: str) -> str:
        """The connection string of a session with our settings; `more` are further parameters."""
        settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        given = {key: value for key, value in self._members.items() if value is not None}
        # Keepalives find a dead link that is idle, the user timeout one on which something was sent.
        defaults = {
            "keepalives_idle": "30",
            "keepalives_interval": "10",
            "keepalives_count": "3",
            "tcp_user_timeout": "60000",
        }
        fixed = {
            "options": f"{given.get('options', '')} {settings}".strip(),
            "client_encoding": "UTF8",
            "application_name": application,
        }
        return make_conninfo("", **{**defaults, **given, **fixed, **more})

    @property
    def user(self) -> str:
        """The role that the URL names; '' when it names none."""
        return str(self._members.get("user") or "")

    @property
    def tls_fault(self) -> str:
        """What TLS does not protect on the way to a server elsewhere; '' when it does or there is no way."""
        mode = str(self._members.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer")
        root = self._members.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
        if self._members.get("service") or all(map(_is_local, _hosts(self._members))):
            return ""
        if mode in ("disable", "allow", "prefer"):
            return f"with sslmode={mode} passwords and rows may travel unencrypted"
        if mode == "require" and not root:
            return "with sslmode=require nobody verifies that it is this server that answers"
        return ""

    @property
    def connect_seconds(self) -> float:
        """How long a connection may take to come about."""
        return float(self._members.get("connect_timeout") or CONNECT_SECONDS)


def _without_password(url: str) -> str:
    return re.sub(r"(password=)[^&\s]*", r"\1…", re.sub(r"://.*@", "://…@", url))


def _verified_tls(members: Mapping[str, Any]) -> dict[str, str]:
    """TLS with a verified server where the URL does not say and the way is neither loopback nor a socket."""
    hosts = _hosts(members)
    told = any(members.get(name) for name in ("sslmode", "service")) or os.environ.get("PGSSLMODE")
    if told or all(map(_is_local, hosts)):
        return {}
    if members.get("sslrootcert") or os.environ.get("PGSSLROOTCERT"):
        return {"sslmode": "verify-full"}
    root = next((path for path in _AUTHORITIES if Path(path).is_file()), "system")
    return {"sslmode": "verify-full", "sslrootcert": root}


def _hosts(members: Mapping[str, Any]) -> list[str]:
    return str(members.get("hostaddr") or members.get("host") or os.environ.get("PGHOST") or "").split(",")


def _is_local(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sessions:
    """One lazily made session with the server, and the one way to end what runs on it.

    An interrupt ends the call that is between the ends of `mapped`, whatever statement it has come to; it
    does nothing when there is none.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: Connection | None = None
        self._application = "syncline"
        self._interrupted = threading.Event()
        self._call = self._depth = 0

    @property
    def connection(self) -> Connection:
        """The session, in autocommit; made anew when the last one was lost."""
        if self._connection is None or self._connection.closed:
            self._connection = self.connect()
        return self._connection

    def call_itself(self, application: str) -> None:
        """The name under which the server shows the session, cut to what it can hold."""
        name = application.encode()[:63].decode(errors="ignore")
        if name != self._application:
            self._application = name
            if self._connection is not None and not self._connection.closed:
                self._connection.execute("SELECT set_config('application_name', %s, false)", [name])

    def connect(self) -> Connection:
        """A further session, which its taker closes. Raises our errors."""
        connection = psycopg.Connection[Any](self._open())
        try:
            connection.autocommit = True
            connection.prepare_threshold = None  # a changed table must not meet a plan of before
            self._settle(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> pq.abc.PGconn:
        """Connect as libpq does, but looking at the interrupt meanwhile."""
        opened = pq.PGconn.connect_start(self.address.conninfo(self._application).encode())
        deadline = time.monotonic() + self.address.connect_seconds
        state = pq.PollingStatus.WRITING
        try:
            while opened.status != pq.ConnStatus.BAD and state != pq.PollingStatus.OK:
                self._look()
                if time.monotonic() > deadline:
                    raise Transient("connect to", self.address.name, "it does not answer")
                poller = select.poll()
                poller.register(
                    opened.socket, select.POLLOUT if state == pq.PollingStatus.WRITING else select.POLLIN
                )
                if poller.poll(100):
                    state = pq.PollingStatus(opened.connect_poll())
                if state == pq.PollingStatus.FAILED:
                    break
            if opened.status == pq.ConnStatus.BAD or state == pq.PollingStatus.FAILED:
                message = opened.get_error_message()
                raise _connection_error(message, self.address)
        except BaseException:
            opened.finish()
            raise
        return opened

    def _settle(self, connection: Connection) -> None:
        """What cannot be asked for when the session begins, because not every server takes it."""
        with contextlib.suppress(psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue):
            connection.execute("SET client_connection_check_interval = '5s'")
        # A session waits while a table is copied by another, or while there is nothing to apply.
        connection.execute(
            "SELECT set_config(name, '0', false) FROM pg_settings"
            " WHERE name IN ('idle_session_timeout', 'transaction_timeout')"
        )
        # A commit that was answered must survive: the log is released after it (Promise 1).
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )

    def _look(self) -> None:
        if self._interrupted.is_set():
            raise Transient("use", self.address.name, "it was interrupted")

    @contextlib.contextmanager
    def mapped(self, operation: str, subject: str) -> Iterator[Connection]:
        """The session; what goes wrong inside leaves as one of our errors."""
        if not self._depth:
            self._interrupted.clear()
            self._call += 1
        self._depth += 1
        try:
            yield self.connection
        except psycopg.Error as error:
            if self._interrupted.is_set():
                raise Transient(operation, subject, "it was interrupted") from None
            raise translated(error, operation, subject, self.address) from None
        finally:
            self._depth -= 1

    def interrupt(self) -> None:
        """From any thread, a signal's handler included: end the call that runs, on the server too."""
        if self._depth and not self._interrupted.is_set():  # else it is being ended already
            self._interrupted.set()
            work = threading.Thread(target=self._cancel, args=(self._call,), name="cancel", daemon=True)
            work.start()

    def _cancel(self, call: int) -> None:
        """Cancel until that call has ended: it may be between two of its statements."""
        while self._depth and self._call == call:
            connection = self._connection
            if connection is None or connection.closed:
                return
            try:
                if connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
                    connection.cancel_safe(timeout=CANCEL_SECONDS)
            except (psycopg.Error, OSError):
                self._cut(connection)
            time.sleep(CANCEL_AGAIN_SECONDS)

    def _cut(self, connection: Connection) -> None:
        """End the wait for a server that cannot be reached any more."""
        with contextlib.suppress(psycopg.Error, OSError):
            twin = socket.socket(fileno=os.dup(connection.pgconn.socket))
            with twin, contextlib.suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the session, and what runs on it."""
        connection, self._connection = self._connection, None
        if connection is None or connection.closed:
            return
        if connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with contextlib.suppress(psycopg.Error, OSError):
                connection.cancel_safe(timeout=CANCEL_SECONDS)
        connection.close()


@contextlib.contextmanager
def rehearsed(connection: Connection) -> Iterator[None]:
    """A transaction to find out what the server would refuse: it waits for no lock for long, and whatever
    is done in it is undone."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL lock_timeout = '{REHEARSAL_LOCK}'".encode())
        yield


# What to do about an error, by the longest prefix of its SQLSTATE that stands here (PostgreSQL
# documentation, "PostgreSQL Error Codes").
_MEANINGS: Final[Mapping[str, tuple[type[SynclineError], str]]] = {
    "08": (Transient, ""),
    "57P01": (Transient, ""),  # terminated by an administrator
    "57P02": (Transient, ""),  # a crash
    "57P03": (Transient, ""),  # starting up, shutting down
    "57P05": (Transient, ""),  # idle session timeout
    "57014": (Transient, ""),  # cancelled
    "25P03": (Transient, ""),  # idle in transaction timeout
    "40": (Transient, ""),  # deadlock, serialization, a commit of unknown outcome
    "55P03": (Transient, ""),  # a lock was not to be had
    "53300": (Transient, ""),  # too many connections
    "25006": (Refused, "the server is a standby: name its primary"),
    "28": (Refused, "check user and password in the URL"),
    "3D000": (Refused, "check the database's name in the URL, or create it"),
    "42501": (Refused, ""),
    "53100": (NeedsOperator, "free disk space at the server"),
    "53": (NeedsOperator, "give the server more of what it lacks"),
    "22": (Unfit, "change the value at the source, or the column at the target"),
    "54000": (Unfit, "shorten the value at the source"),  # a row or a key that is larger than a page
    "P0001": (Unfit, "take away what raises it at the target, or change the value at the source"),
    "23": (Unfit, "take away the constraint at the target, or the row that it refuses"),
}


_CHANGED_CATALOG: Final = "could not open relation with OID|cache lookup failed for"
"""What functions over the catalog say when something is dropped between their snapshot and their look."""


def translated(error: psycopg.Error, operation: str, subject: str, address: Address) -> SynclineError:
    """A server's or libpq's error as one of ours."""
    state = error.sqlstate
    if state is None:
        lost = isinstance(error, psycopg.OperationalError)
        kind: type[SynclineError] = Transient if lost else NeedsOperator
        return kind(operation, subject, _clean(str(error)))
    kind, remedy = next(
        (_MEANINGS[state[:size]] for size in (5, 2) if state[:size] in _MEANINGS), (NeedsOperator, "")
    )
    diag = error.diag
    told = diag.message_primary or str(error)
    if detail := diag.message_detail:
        told = f"{told} ({detail.rstrip('.')})"
    if diag.column_name and diag.column_name not in told:
        told = f"column {diag.column_name}: {told}"
    elif diag.context and (place := re.match(r"COPY \S+, line \d+(?:, column [^:]+)?", diag.context)):
        told = f"{told} ({place[0]})"
    if state == "XX000" and re.match(_CHANGED_CATALOG, told):
        kind = Transient
    if state == "42501":
        remedy = _grant(told, operation, address.user or "this role")
    return kind(operation, subject, told, remedy or diag.message_hint or "")


def _grant(message: str, operation: str, role: str) -> str:
    """The statement that gives the role what it lacked."""
    if "row-level security" in message:
        return f"run ALTER ROLE {role} BYPASSRLS as a superuser"
    if database := re.search(r'create temporary tables in database "([^"]+)"', message):
        return f"run GRANT TEMP ON DATABASE {database[1]} TO {role} as its owner"
    found = re.search(r"permission denied (?:for|to) (\w+(?: \w+)?) \"?([^\" ]+)\"?", message)
    writes = operation.split()[0] in ("apply", "write", "load", "delete", "truncate")
    match found.groups() if found else ("", ""):
        case ("table", name):
            rights = "SELECT, INSERT, UPDATE, DELETE" if writes else "SELECT"
            rights = "REFERENCES" if operation.startswith("add foreign keys") else rights
            return f"run GRANT {rights} ON {name} TO {role} as its owner"
        case ("schema", name):
            return f"run GRANT USAGE, CREATE ON SCHEMA {name} TO {role} as its owner"
        case ("database", name):
            return f"run GRANT CREATE, TEMP ON DATABASE {name} TO {role} as its owner"
        case ("sequence", name):
            rights = "SELECT, UPDATE" if operation.startswith("advance") else "SELECT"
            return f"run GRANT {rights} ON SEQUENCE {name} TO {role} as its owner"
    return f"grant it to {role}, or use the owner's role"


# A failed connection carries no SQLSTATE, only libpq's words and the server's.
_CONNECT: Final = (
    (r"starting up|shutting down|recovery mode|not yet accepting|too many clients|slots are reserved|"
     r"remaining connection|too many connections|Connection refused|timed out|timeout|closed the connection|"
     r"reset by peer|temporary failure|unreachable|No route|Broken pipe|terminating connection|No such file",
     Transient, ""),
    (r"could not translate host name|Name or service not known|nodename nor servname",
     Refused, "check the host in the URL"),
    (r"password authentication failed|no password supplied|authentication failed|role .* does not exist",
     Refused, "check user and password in the URL"),
    (r"database .* does not exist", Refused, "check the database's name in the URL, or create it"),
    (r"no pg_hba.conf entry|pg_hba.conf rejects", Refused, "let this host in with a line in pg_hba.conf"),
    (r"does not support SSL|SSL .*required", Refused,
     "add sslmode=disable to the URL when the network between is trusted"),
    (r"certificate|SSL", Refused,
     "name the authority with sslrootcert=FILE in the URL, or go unverified with sslmode=require"),
    (r"FATAL", Refused, ""),
    (r"invalid|must be", Refused, "check the URL"),
)  # fmt: skip


def _connection_error(message: str, address: Address) -> SynclineError:
    """What a failed connection means; a server that is away is waited for, a wrong URL is refused."""
    text = _clean(message)
    for pattern, kind, remedy in _CONNECT:
        if re.search(pattern, message):
            return kind("connect to", address.name, text, remedy)
    return Transient("connect to", address.name, text)


def _clean(text: str) -> str:
    """Without libpq's preface."""
    text = re.sub(r"^connection (?:to server .*? )?failed: ", "", text.strip()).partition("\n")[0]
    return text.replace("FATAL:  ", "").replace("ERROR:  ", "")
