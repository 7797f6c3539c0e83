"""The command line of the test servers."""

from __future__ import annotations

import argparse
import sys

from . import ServiceError, find, names


def main() -> int:
    """Run one verb over the named servers, or over all of them for `down` and `status`."""
    parser = argparse.ArgumentParser(prog="python -m services", description="Private servers for tests.")
    parser.add_argument("verb", choices=("up", "down", "status", "url"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}")
    asked = parser.parse_args()
    if not asked.names and asked.verb in ("up", "url"):
        parser.error(f"name at least one of {', '.join(names())}")
    for name in asked.names or names():
        server = find(name)
        if asked.verb == "up":
            server.start(keep=True)
            print(f"{name} {server.url}")
        elif asked.verb == "down":
            server.remove()
        elif asked.verb == "status":
            print(f"{name} {server.status()}")
        else:
            print(server.url)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServiceError as error:
        sys.exit(str(error))
