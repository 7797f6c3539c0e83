"""Errors: one line, picklable, by what is to be done."""

from __future__ import annotations

import pickle

import pytest

from syncline import errors
from syncline.errors import (
    Corruption,
    Interrupted,
    LogLost,
    NeedsOperator,
    Refused,
    Superseded,
    SynclineError,
    Transient,
    Unfit,
)

CLASSES = [Transient, NeedsOperator, LogLost, Superseded, Unfit, Refused, Corruption]


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_pickling(kind: type[SynclineError]) -> None:
    error = kind("apply", "orders to warehouse", "it\n  is\tlate", "wait")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "cannot apply orders to warehouse: it is late; wait"
    assert vars(again) == vars(error)
    assert again.code == kind.__name__.lower()


@pytest.mark.parametrize("number", [2, 15])
def test_an_interruption_survives_pickling(number: int) -> None:
    again = pickle.loads(pickle.dumps(Interrupted(number, "0/1A")))
    assert again.exit_status == 128 + number
    assert str(again) == str(Interrupted(number, "0/1A"))


def test_an_error_without_a_remedy_ends_with_its_reason() -> None:
    assert str(Refused("open", "x", "it is not there")) == "cannot open x: it is not there"


def test_exit_codes() -> None:
    assert [kind.exit_code for kind in CLASSES] == [3, 3, 3, 3, 3, 2, 4]
    assert issubclass(LogLost, NeedsOperator)
    assert issubclass(Superseded, NeedsOperator)


def test_every_error_says_what_is_to_be_done() -> None:
    found = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert {kind for kind in found if issubclass(kind, Exception)} == {*CLASSES, SynclineError, Interrupted}
