"""Values at the edges of their types: made from a seed, sent through the real pipeline, judged by the oracle.

`SYNCLINE_SEED` replays a run; without it a seed is drawn, and printed when a test fails.
"""

from __future__ import annotations

import os
import random


def drawn_seed() -> int:
    """The seed of this run, which is printed for whoever wants it again."""
    seed = int(os.environ.get("SYNCLINE_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SYNCLINE_SEED={seed}")
    return seed
