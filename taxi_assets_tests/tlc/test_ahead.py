"""Items are made in another thread, in order, a step before they are used."""

import threading
import time
from collections.abc import Iterator

import pytest

from taxi_assets.tlc.ahead import read_ahead


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_items_come_in_order_each_once(count: int) -> None:
    """What is read ahead is what was there."""
    assert list(read_ahead(iter(range(count)))) == list(range(count))
    assert not _threads()


def test_items_may_be_none_or_false() -> None:
    """No value of an item is taken for the end."""
    assert list(read_ahead([None, 0, "", False, None])) == [None, 0, "", False, None]


def test_items_are_made_in_another_thread() -> None:
    """The maker does not run in the user's thread."""
    [maker] = {*read_ahead(threading.current_thread().name for _ in range(3))}
    assert maker.startswith("read-ahead")


def test_next_item_is_made_while_one_is_used_and_no_more() -> None:
    """At most one item is made ahead of the one in use, so that memory does not grow."""
    made: list[int] = []
    ahead = threading.Event()

    def make() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            if number == 1:
                ahead.set()
            yield number

    items = read_ahead(make())
    assert next(items) == 0
    assert ahead.wait(10), "the second item is not made while the first is in use"
    time.sleep(0.05)
    assert made == [0, 1]
    assert list(items) == [1, 2, 3, 4]


def test_error_of_the_maker_is_raised_after_the_items_before_it() -> None:
    """What was made before an error is used; then the error itself is raised, and the thread is gone."""

    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("the maker's")

    items = read_ahead(make())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="the maker's"):
        next(items)
    assert not _threads()


def test_error_of_the_user_leaves_no_thread() -> None:
    """A user who fails on an item ends the maker's thread."""

    def use() -> None:
        for item in read_ahead(iter(range(100))):
            raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        use()
    assert not _threads()


def test_closing_early_leaves_no_thread() -> None:
    """A user who stops early ends the maker's thread, after at most one item more."""
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = read_ahead(make())
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    assert not _threads()
    assert len(made) <= 2


def test_nothing_is_made_before_the_first_is_asked_for() -> None:
    """An iterator that nobody uses starts no thread."""
    items = read_ahead(pytest.fail("made") for _ in range(1))
    assert not _threads()
    del items
