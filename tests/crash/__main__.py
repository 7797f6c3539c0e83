"""The crash test's command line: exit 0 when everything held, 1 when something did not."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from . import evolving, run
from .run import crash
from .syncer import Failed


def main() -> int:
    """Run one form over one pair, and print what was done and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("form", choices=("deep", "short"))
    parser.add_argument(
        "--evolving", action="store_true", help="a pipeline with rules, and tables that change"
    )
    parser.add_argument("--from", dest="source", default="postgres", metavar="STORE")
    parser.add_argument("--to", dest="target", default="postgres-b", metavar="STORE")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--logs", type=Path, default=Path(".deep"), help="folder for logs and SQLite files")
    asked = parser.parse_args()
    begun = time.monotonic()
    folder = asked.logs / f"crash-{asked.seed}"
    kind = evolving if asked.evolving else run
    plan = kind.DEEP if asked.form == "deep" else kind.SHORT
    test = evolving.Evolving if asked.evolving else run.Crash
    try:
        done = crash(test, plan, asked.source, asked.target, folder, asked.seed)
    except Failed as error:
        print(f"\nFAILED after {time.monotonic() - begun:.0f} s: {error}")
        return 1
    print()
    for what, times in sorted(done.items()):
        print(f"{times:4} {what}")
    print(f"\nEverything held; seed {asked.seed}, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
