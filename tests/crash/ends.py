"""The two stores of a crash test: how to reach them, stop them and cut them off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg

from services import Server, find, names

from .proxy import Proxy
from .tables import ERRORS, Database

Answer = TypeVar("Answer")


class End:
    """A store: `url` goes straight to it, `via` through the link that can be cut."""

    def __init__(self, name: str, url: str, server: Server | None, proxy: Proxy | None) -> None:
        self.name, self.url, self.server, self.proxy = name, url, server, proxy
        self.via = url
        if proxy is not None:
            parts = urlsplit(url)
            user = parts.netloc.rpartition("@")[0]
            self.via = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))

    def ask(self, question: Callable[[Database], Answer], within: float = 60) -> Answer:
        """The answer of this store, asked again while it is away or busy for so many seconds."""
        deadline = time.monotonic() + within
        while True:
            try:
                database = Database(self.url)
                try:
                    return question(database)
                finally:
                    database.close()
            except ERRORS:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@contextmanager
def opened(name: str, side: str, folder: Path) -> Iterator[End]:
    """An empty store: a new database of a server of `services`, a new `sqlite` file in `folder`, or the
    one behind a URL, which must be empty. What was made goes at the end, the file excepted."""
    with ExitStack() as stack:
        server: Server | None = None
        if name == "sqlite":
            path = folder / f"{side}.db"
            path.unlink(missing_ok=True)
            url = f"sqlite:///{path.absolute()}"
        elif name in names():
            server = find(name)
            stack.enter_context(server.in_use())
            url = stack.enter_context(_new_database(server, side))
        else:
            url = name
        proxy = None
        if url.startswith("postgres"):
            parts = urlsplit(url)
            proxy = stack.enter_context(Proxy(parts.hostname or "127.0.0.1", parts.port or 5432))
        if server is not None and server.external:
            server = None
        yield End(f"{side} ({name})", url, server, proxy)


@contextmanager
def _new_database(server: Server, side: str) -> Iterator[str]:
    """A database that is gone afterwards, with the slots that a failed run leaves."""
    name = f"crash_{side}_{int(time.time() * 1000)}"
    with psycopg.connect(server.url, autocommit=True) as maintenance:
        maintenance.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))
    finally:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as maintenance:
            maintenance.execute(
                "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "
                "WHERE database = %s AND active_pid IS NOT NULL",
                [name],
            )
            slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s"
            maintenance.execute(slots, [name])
            maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")
