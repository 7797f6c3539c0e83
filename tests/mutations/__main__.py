"""Runs the mutations named, or all: `python -m tests.mutations [NAME …]`; exit 1 when one survives."""

from __future__ import annotations

import sys

from tests.mutations import mutations, survives


def main(names: list[str]) -> int:
    """Run and print a line each."""
    chosen = [mutation for mutation in mutations() if not names or mutation.name in names]
    survivors = 0
    for mutation in chosen:
        output = survives(mutation)
        survivors += bool(output)
        print(f"{'SURVIVES' if output else 'caught':8}  {mutation.name}: {mutation.breaks}", flush=True)
        if output:
            print(output)
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
