"""Errors of a process without memory: each library reports it in its own way, and users see one error."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from taxi_assets.errors import DamagedFile, DuckDBError, OutOfMemory
from taxi_assets.stores.memory import translate_memory_errors


def _python() -> None:
    bytearray(1 << 60)


def _numpy() -> None:
    import numpy as np

    np.ones(1 << 55, np.uint8)


def _arrow() -> None:
    import pyarrow as pa

    pa.allocate_buffer(1 << 60)


def _duckdb() -> None:
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": "2MB"}) as database:
        database.execute("SELECT count(*) FROM (SELECT DISTINCT range FROM range(1000000))")


def _system() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def _as_a_cause() -> None:
    try:
        _duckdb()
    except Exception as error:
        raise DamagedFile("The file could not be read.") from error


@pytest.mark.parametrize("fail", [_python, _numpy, _arrow, _duckdb, _system, _as_a_cause])
def test_one_error(fail: Callable[[], None]) -> None:
    """Whatever cannot be allocated, and whichever error that caused, the error says how much memory was used."""
    with pytest.raises(OutOfMemory, match=r"It used up to \d") as caught, translate_memory_errors():
        fail()
    assert "[out-of-memory]" in caught.value.explain()


_LIMITED = """
import resource, threading, time
from taxi_assets.stores.memory import translate_memory_errors
import {library}
resource.setrlimit(resource.RLIMIT_AS, (100 << 20, -1))
with translate_memory_errors():
    for _ in range(100):
        {statement}
"""


@pytest.mark.parametrize(
    ("library", "statement"),
    [("threading", "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"), ("os", "import duckdb")],
    ids=["threads", "library"],
)
def test_limit_of_the_address_space(library: str, statement: str) -> None:
    """A thread that cannot start and a library that cannot be loaded are reported, with the limit of the process."""
    code = _LIMITED.format(library=library, statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("taxi_assets.errors.OutOfMemory")
    assert "(ulimit -v) is 105 MB" in last


def test_other_errors_stay() -> None:
    """An error that only quotes such words, and one of another cause, are not translated."""
    import duckdb

    with pytest.raises(duckdb.ConversionException), translate_memory_errors():
        duckdb.execute("SELECT 'out of memory'::INTEGER").fetchall()
    with pytest.raises(DuckDBError), translate_memory_errors():
        raise DuckDBError("out of memory")
    with translate_memory_errors(), pytest.raises(RuntimeError):
        raise RuntimeError("no thread")
