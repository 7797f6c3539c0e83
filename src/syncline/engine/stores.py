"""The stores that a run has open, and the flag that ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ..connector import Source, Store, Target
from ..errors import Interrupted

AGAIN_SECONDS = 0.1

AnyStore = TypeVar("AnyStore", bound=Store)


class Stores:
    """Opens stores for the threads of a run, and ends or closes all of them at once.

    `stop` may be called from a signal handler or any thread: blocked calls of every open store end, on the
    server too, and every later `check` or opening raises Interrupted (Promise 8).
    """

    def __init__(self, open_source: Callable[[], Source], open_target: Callable[[], Target]) -> None:
        self._open_source, self._open_target = open_source, open_target
        self._stores: list[Store] = []
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._signal = 0

    def source(self) -> Source:
        """One more connection to the source."""
        return self._keep(self._open_source())

    def target(self) -> Target:
        """One more connection to the target."""
        return self._keep(self._open_target())

    def _keep(self, store: AnyStore) -> AnyStore:
        with self._lock:
            self._stores.append(store)
        self.check()
        return store

    def release(self, store: Store) -> None:
        """Close one store."""
        with self._lock:
            if store in self._stores:
                self._stores.remove(store)
        store.close()

    def close(self) -> None:
        """Close all that are open."""
        with self._lock:
            stores, self._stores = self._stores, []
        for store in stores:
            store.close()

    def interrupt(self) -> None:
        """End whatever runs in any open store."""
        with self._lock:
            stores = list(self._stores)
        for store in stores:
            store.interrupt()

    def stop(self, signal_number: int) -> None:
        """Ask the run to end."""
        self._signal = signal_number
        self._stopped.set()
        self.interrupt()
        threading.Thread(target=self._insist, name="stop", daemon=True).start()

    def interrupt_until(self, ended: Callable[[], bool]) -> None:
        """Interrupt again and again: an interrupt ends only the call that it meets, and a thread that was
        computing just then, or ends a commit, begins another, which may be a long one."""
        while not ended():
            self.interrupt()
            time.sleep(AGAIN_SECONDS)

    def _insist(self) -> None:
        time.sleep(AGAIN_SECONDS)
        self.interrupt_until(lambda: not self._stores)

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to end."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise Interrupted when the run was asked to end."""
        if self._stopped.is_set():
            raise Interrupted(self._signal)

    def wait(self, seconds: float) -> None:
        """Sleep, unless the run is asked to end: then Interrupted at once."""
        self._stopped.wait(seconds)
        self.check()
