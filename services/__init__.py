"""Private real servers for tests: `python -m services up|down|status|url NAME …`.

Each server listens on a free loopback port that stays its own, with data in a folder of its own, and is
never the system's. `up` leaves a server running until `down`, which stops it and deletes its data.

A kind of server is one module of this package with `SERVERS`, the servers it offers; nothing else has to
know it. Folder: `.services/` in the checkout, or `SYNCLINE_SERVICES`. A server whose URL stands in the
environment (`SYNCLINE_POSTGRES_B_URL` for `postgres-b`) is used as it is, never started or stopped.
"""

from __future__ import annotations

import importlib
import pkgutil

from .server import Server, ServiceError

__all__ = ["Server", "ServiceError", "find", "names"]


def names() -> list[str]:
    """The names of all servers that the modules of this package offer."""
    return sorted(_servers())


def find(name: str) -> Server:
    """The server of that name; ServiceError when there is none."""
    try:
        return _servers()[name]
    except KeyError:
        raise ServiceError(f"no server is named {name}; there are {', '.join(names())}") from None


def _servers() -> dict[str, Server]:
    found: dict[str, Server] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            offered = getattr(importlib.import_module(f"{__name__}.{module.name}"), "SERVERS", ())
            found.update((server.name, server) for server in offered)
    return found
