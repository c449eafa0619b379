"""Prefetching produces items in another thread, in order, one step ahead."""

import threading
import time
from collections.abc import Iterator

import pytest

from taxi_assets.tlc.ahead import read_ahead


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_keep_the_order_of_items(count: int) -> None:
    """Yield each item once, in the original order."""
    assert list(read_ahead(iter(range(count)))) == list(range(count))
    assert not _threads()


def test_accept_falsy_items() -> None:
    """No value of an item marks the end."""
    assert list(read_ahead([None, 0, "", False, None])) == [None, 0, "", False, None]


def test_produce_items_in_another_thread() -> None:
    """Items are not produced in the thread of the consumer."""
    [producer] = {*read_ahead(threading.current_thread().name for _ in range(3))}
    assert producer.startswith("read-ahead")


def test_prefetch_one_item() -> None:
    """Produce at most one item in advance, so that memory use stays constant."""
    produced: list[int] = []
    prefetched = threading.Event()

    def produce() -> Iterator[int]:
        for number in range(5):
            produced.append(number)
            if number == 1:
                prefetched.set()
            yield number

    items = read_ahead(produce())
    assert next(items) == 0
    assert prefetched.wait(10)
    time.sleep(0.05)
    assert produced == [0, 1]
    assert list(items) == [1, 2, 3, 4]


def test_raise_an_error_of_the_producer() -> None:
    """Yield the items before the error, then raise the error and end the thread."""

    def produce() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("no more items")

    items = read_ahead(produce())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="no more items"):
        next(items)
    assert not _threads()


def test_end_the_thread_after_an_error_of_the_consumer() -> None:
    """The thread ends if the consumer fails."""

    def consume() -> None:
        for item in read_ahead(iter(range(100))):
            raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        consume()
    assert not _threads()


def test_end_the_thread_when_closed_early() -> None:
    """The thread ends if the consumer stops early, after at most one more item."""
    produced: list[int] = []

    def produce() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    items = read_ahead(produce())
    assert next(items) == 0
    items.close()
    assert not _threads()
    assert len(produced) <= 2


def test_start_with_the_first_item() -> None:
    """An iterator that is not used starts no thread."""
    items = read_ahead(pytest.fail("produced") for _ in range(1))
    assert not _threads()
    del items
