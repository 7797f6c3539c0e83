"""The queue between reading and applying."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest

from syncline.engine.queue import MOST_CHANGES, BatchQueue, Closed
from syncline.model import Batch, Changes, Position, Rows, TableName


def batch(number: int, size: int = 100, path: tuple[str, ...] = ("a",), complete: bool = True) -> Batch:
    rows = Rows.of(("x",), [pa.array([b"x" * size], pa.binary())])
    changes = Changes(TableName("t"), b"I", rows.select(()), rows, path)
    return Batch(Position(str(number)), Position(str(number + 1)), [changes], complete)


def test_what_may_be_one_transaction_comes_together() -> None:
    queue = BatchQueue(1 << 20)
    for number, path in enumerate([("a",), ("a",), ("b", "a"), ("b", "a")]):
        queue.put(batch(number, path=path))
    assert [b.after for b in queue.take(0)] == ["0", "1"], "one path a table in a transaction (Race 16)"
    assert [b.after for b in queue.take(0)] == ["2", "3"]
    assert queue.take(0) == []


def test_pieces_of_a_transaction_come_alone() -> None:
    queue = BatchQueue(1 << 20)
    queue.put(batch(0))
    queue.put(batch(1, complete=False))
    queue.put(batch(1))
    assert [[b.after for b in queue.take(0)] for _ in range(3)] == [["0"], ["1"], ["1"]]


def test_what_is_folded_at_once_is_bounded_in_changes() -> None:
    queue = BatchQueue(1 << 30)
    rows = Rows.of(("x",), [pa.nulls(MOST_CHANGES // 2)])
    for number in range(5):
        changes = Changes(TableName("t"), b"I" * rows.count, rows.select(()), rows, ("a",))
        queue.put(Batch(Position(str(number)), Position(str(number + 1)), [changes]))
    assert [len(queue.take(0)) for _ in range(3)] == [2, 2, 1]


def test_memory_is_bounded_in_bytes() -> None:
    queue = BatchQueue(250)
    queue.put(batch(0, size=1000))  # larger than the bound: passes alone
    waiting = threading.Thread(target=queue.put, args=(batch(1),))
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    queue.take(0)
    waiting.join(5)
    assert not waiting.is_alive()


def test_an_error_of_the_reader_comes_after_what_it_had_read() -> None:
    queue = BatchQueue(1 << 20)
    queue.put(batch(0))
    queue.end(ValueError("broken"))
    assert len(queue.take(0)) == 1
    with pytest.raises(ValueError, match="broken"):
        queue.take(0)


def test_a_closed_queue_frees_the_reader() -> None:
    queue = BatchQueue(10)
    queue.put(batch(0))
    caught: list[BaseException] = []

    def put() -> None:
        try:
            queue.put(batch(1))
        except Closed as error:
            caught.append(error)

    waiting = threading.Thread(target=put)
    waiting.start()
    queue.close()
    waiting.join(5)
    assert caught
