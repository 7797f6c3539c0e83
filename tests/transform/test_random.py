"""Random changes through a filter over cells that the log does not send, with a failure anywhere."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator

import pytest

from syncline import failpoints
from syncline.connectors.memory import Database, database
from syncline.engine.transform.rules import Rules
from tests.engine.test_pipeline import Writer, fill, urls
from tests.runs import Following, sync, verdicts

RULES = {
    "parents": Rules(
        where="(name >= '0.2' OR name LIKE 'p%') AND big < '0.5' OR id BETWEEN 5 AND 9",
        rename_columns={"big": "large"},
        constants={"origin": "memory"},
    )
}
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


def passes(row: tuple[object, ...]) -> bool:
    number, name, big = row
    assert isinstance(number, int)
    named = name is not None and (str(name) >= "0.2" or str(name).startswith("p"))
    return (named and big is not None and str(big) < "0.5") or 5 <= number <= 9


@pytest.mark.parametrize("place", ["none", "copy.before_commit", "apply.before_commit", "apply.after_commit"])
def test_the_target_holds_what_passes(place: str) -> None:
    number = next(_numbers)
    pair: tuple[Database, Database] = database(f"random-source-{number}"), database(f"random-target-{number}")
    fill(pair[0])
    seed = int(os.environ.get("SYNCLINE_SEED", random.randrange(1 << 30)))
    print(f"SYNCLINE_SEED={seed}")
    with Writer(pair[0], seed) as writer:
        if place != "none":
            failpoints.arm(f"{place}=fail")
        with Following(*urls(pair), rules=RULES, span_rows=5, tables=["parents"]) as run:
            time.sleep(1.0)
            writer.end()
            assert run.error is None
    report = sync(*urls(pair), rules=RULES, tables=["parents"])
    assert verdicts(report) == {"parents": "equal"}
    kept = [(*row, "memory") for row in pair[0].rows("parents") if passes(row)]
    assert pair[1].rows("parents") == kept
    assert len(kept) < len(pair[0].rows("parents"))
