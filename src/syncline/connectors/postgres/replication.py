"""The one IO loop of this room: a walsender's stream over a connection of its own.

In: a libpq connection string. Out: the payloads of the log's messages, in order, and the walsender's
position in between. The reader's thread is inside `take`; `confirm` and `interrupt` may be called by any.

Protocol: PostgreSQL documentation, "Streaming Replication Protocol".
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import psycopg
from psycopg import pq

from ...errors import Corruption, Transient
from .lsn import format_lsn

# The server ends a walsender that hears nothing for TIMEOUT_SECONDS. The session sets that limit itself,
# so that the feedback below is always frequent enough, whatever the server's setting is.
TIMEOUT_SECONDS: Final = 60
FEEDBACK_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 20.0
ANSWER_SECONDS: Final = 120.0
"""Longer than any server that lives leaves a question open: it answers between two records of its log."""

_EPOCH: Final = 946_684_800  # 2000-01-01 UTC, which the protocol's clock starts at
_DATA, _KEEPALIVE, _STATUS = b"wkr"
_DATA_HEADER = 25  # kind, start, end, clock


class Keepalive(NamedTuple):
    """All of the log up to `end` has been sent. `asked`: the server waits to hear from this side."""

    end: int
    asked: bool


Frame = bytes | Keepalive


class ServerError(Exception):
    """What the server said instead of sending more."""

    def __init__(self, sqlstate: str, message: str) -> None:
        self.sqlstate = sqlstate
        self.message = message
        super().__init__(sqlstate, message)


class LogStream:
    """One START_REPLICATION on one connection.

    Feedback goes on while the reader is busy elsewhere; it tells of nothing beyond the last `confirm`
    (Promise 1). Raises ServerError for what the server refuses, Transient for a lost connection and
    after `interrupt`. `conninfo` must ask for a walsender.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: pq.abc.PGconn | None = None
        # libpq's connection takes one thread at a time. Nobody holds this while waiting for the network.
        self._lock = threading.Lock()
        self._confirmed = 0
        self._started = False
        self._end: Exception | None = None
        self._asked: float | None = None
        self._interrupted = threading.Event()
        self._stopping = threading.Event()
        self._wakeup, self._waker = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._waker, False)
        self._feedback: threading.Thread | None = None

    def connect(self) -> None:
        """Connect; Transient when it takes more than CONNECT_SECONDS."""
        connection = pq.PGconn.connect_start(self._conninfo.encode())
        self._connection = connection
        deadline = time.monotonic() + CONNECT_SECONDS
        state: int = pq.PollingStatus.WRITING
        while connection.status != pq.ConnStatus.BAD and state != pq.PollingStatus.OK:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Transient("follow", "the log", f"no connection within {CONNECT_SECONDS:.0f} seconds")
            self._wait(state == pq.PollingStatus.WRITING, left)
            state = connection.connect_poll()
            if state == pq.PollingStatus.FAILED:
                break
        if connection.status == pq.ConnStatus.BAD or state == pq.PollingStatus.FAILED:
            raise ServerError("08001", connection.get_error_message())

    def start(self, slot: str, publication: str, after: int) -> None:
        """Begin to stream what that slot and publication tell after a log position. After a ServerError
        it may be tried again on the same connection."""
        # The session's TimeZone, DateStyle and so on are the text form of the cells that the walsender sends.
        self._query(f"SET wal_sender_timeout = '{TIMEOUT_SECONDS}s'", pq.ExecStatus.COMMAND_OK)
        name = publication.replace('"', '""').replace("'", "''")
        self._query(
            f'START_REPLICATION SLOT "{slot}" LOGICAL {format_lsn(after)}'
            f" (proto_version '1', publication_names '\"{name}\"', messages 'true')",
            pq.ExecStatus.COPY_BOTH,
        )
        self._live().nonblocking = 1
        self._started = True
        self._feedback = threading.Thread(target=self._keep_alive, name=f"feedback {slot}", daemon=True)
        self._feedback.start()

    def take(self, timeout: float) -> list[Frame]:
        """What has arrived, waiting at most `timeout` seconds for the first of it; [] when nothing has.
        Transient when a question of ANSWER_SECONDS ago has brought nothing: the link may be dead on the way
        back only, or its other end forgotten by something between, and nothing else would tell."""
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                # libpq may hold frames that no select would tell of: empty it before waiting.
                frames = self._drain()
                if frames:
                    self._asked = None
                    return frames
                with _lost_connection():
                    unflushed = self._live().flush() == 1
            left = deadline - time.monotonic()
            if not self._wait(unflushed, max(left, 0.0)) and left <= 0:
                if self._asked is not None:
                    _refuse_silence(self._asked)
                return []
            with self._lock, _lost_connection():
                self._live().consume_input()

    def ask(self) -> None:
        """Ask the walsender where it stands; a Keepalive answers."""
        with self._lock, _lost_connection():
            if self._end is None:
                self._send_status(ask=True)
                self._asked = self._asked or time.monotonic()

    def confirm(self, upto: int) -> None:
        """Tell the server, now and from now on, that the log up to there is not needed; never backwards."""
        with self._lock:
            self._confirmed = max(self._confirmed, upto)
            # A broken connection is the reader's to report; what was stored is not needed to be told.
            with contextlib.suppress(psycopg.Error):
                if self._started:
                    self._send_status()

    def interrupt(self) -> None:
        """End what waits here, and all that is called later, with Transient."""
        self._interrupted.set()
        with self._lock:
            self._wake()

    def close(self) -> None:
        """End the stream and the connection; may be called twice."""
        self._stopping.set()
        if self._feedback is not None:
            self._feedback.join()
        with self._lock:
            self._started = False
            if self._connection is not None:
                self._connection.finish()
                self._connection = None
            if self._wakeup >= 0:
                os.close(self._wakeup)
                os.close(self._waker)
                self._wakeup = self._waker = -1

    def _live(self) -> pq.abc.PGconn:
        if self._connection is None:
            raise Transient("follow", "the log", "the connection is closed")
        return self._connection

    def _query(self, statement: str, expected: pq.ExecStatus) -> None:
        connection = self._live()
        with _lost_connection():
            connection.send_query(statement.encode())
            result = self._result()
            if result is not None and result.status == expected:
                if expected != pq.ExecStatus.COPY_BOTH:
                    self._result()
                return
            error = _server_error(result)
            while connection.status == pq.ConnStatus.OK and self._result() is not None:
                pass
        raise error

    def _result(self) -> pq.abc.PGresult | None:
        """The next result, once it is there: `get_result` would wait for it with all of Python stopped."""
        connection, since = self._live(), time.monotonic()
        while connection.is_busy():
            _refuse_silence(since)
            self._wait(False, 1.0)
            connection.consume_input()
        return connection.get_result()

    def _drain(self) -> list[Frame]:
        """What libpq holds. Python runs once a frame here, as libpq hands them out one by one."""
        if self._end is not None:
            raise self._end
        frames: list[Frame] = []
        asked: int | None = None
        with _lost_connection():
            take = self._live().get_copy_data
            while (got := take(1))[0] > 0:
                size, data = got
                if data[0] == _DATA and size >= _DATA_HEADER:
                    frames.append(bytes(data[_DATA_HEADER:]))
                elif data[0] == _KEEPALIVE and size == 18:
                    end, _, wanted = struct.unpack_from("!QqB", data, 1)
                    frames.append(Keepalive(end, wanted != 0))
                    asked = end if wanted else asked
                else:
                    what = f"a frame of {size} bytes and kind {data[0]} arrived"
                    raise Corruption("follow", "the log", what)
            if got[0] < 0:
                # libpq tells why only once. What came before goes out first.
                self._end = _server_error(self._live().get_result())
                if not frames:
                    raise self._end
            elif asked is not None:
                self._answer(asked)
        return frames

    def _send_status(self, ask: bool = False) -> None:
        """Written, flushed and applied are one here: what the target holds (Promise 1)."""
        self._put_status(self._confirmed, self._confirmed, ask)

    def _answer(self, end: int) -> None:
        """Tell a server that asks that all it sent has arrived, and nothing about what is flushed. One
        that is being shut down waits for no more than that; else it would wait for the target."""
        self._put_status(end, 0, False)

    def _put_status(self, written: int, flushed: int, ask: bool) -> None:
        """Standby status update. A server takes a `flushed` of 0 as not told."""
        clock = int((time.time() - _EPOCH) * 1_000_000)
        connection = self._live()
        connection.put_copy_data(struct.pack("!BQQQqB", _STATUS, written, flushed, flushed, clock, ask))
        if connection.flush() == 1:
            self._wake()  # the reader waits until the rest can be written

    def _keep_alive(self) -> None:
        while not self._stopping.wait(FEEDBACK_SECONDS):
            with self._lock, contextlib.suppress(psycopg.Error, Transient):
                self._send_status()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._waker, b"\0")

    def _wait(self, writable: bool, timeout: float) -> bool:
        """Wait for the network; whether anything happened. Transient once interrupted."""
        poller = select.poll()
        poller.register(self._live().socket, select.POLLIN | (select.POLLOUT if writable else 0))
        poller.register(self._wakeup, select.POLLIN)
        happened = poller.poll(timeout * 1000)
        if any(descriptor == self._wakeup for descriptor, _ in happened):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, 4096)
        if self._interrupted.is_set():
            raise Transient("follow", "the log", "it was interrupted")
        return bool(happened)


def _refuse_silence(since: float) -> None:
    """Transient when a question of that time would have been answered by now."""
    if time.monotonic() - since > ANSWER_SECONDS:
        raise Transient("follow", "the log", "the server does not answer any more")


@contextlib.contextmanager
def _lost_connection() -> Iterator[None]:
    """libpq's own complaints mean that the connection is gone."""
    try:
        yield
    except psycopg.Error as error:
        raise Transient("follow", "the log", str(error)) from None


def _server_error(result: pq.abc.PGresult | None) -> Exception:
    if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
        return Transient("follow", "the log", "the server ended the stream")
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b"08006"
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return ServerError(state.decode(), message.decode(errors="replace"))
