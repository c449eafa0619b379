"""Read raw files in whole lines, plain or gzip, and reject files that are damaged or not a CSV."""

import gzip
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxi_assets.errors import BadFile, CorruptFile, EmptyFile, NotACsv, WrongSuffix
from taxi_assets.tlc.raw import LONGEST_LINE, Measure, count_rows, is_blank, measure, read_blocks

TEXT = b"name,value\r\n" + b"".join(b"row %d,%d\r\n" % (number, number**5) for number in range(500))
GZIP = gzip.compress(TEXT, mtime=0)


@pytest.fixture(params=[".csv", ".csv.gz"])
def suffix(request: pytest.FixtureRequest) -> str:
    """Plain and gzip files."""
    return str(request.param)


def _write(folder: Path, text: bytes, suffix: str = ".csv") -> Path:
    path = folder / f"month{suffix}"
    path.write_bytes(gzip.compress(text, mtime=0) if suffix.endswith(".gz") else text)
    return path


def _write_bytes(folder: Path, content: bytes) -> Path:
    path = folder / "month.csv.gz"
    path.write_bytes(content)
    return path


def _read_all(path: Path) -> bytes:
    return b"".join(block.text for block in read_blocks(path, 1_000))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"h\n", 0),
        (b"h", 0),
        (b"h\na\nb\n", 2),
        (b"h\na\nb", 2),
        (b"h\r\na\r\nb\r\n", 2),
        (b"h\r\n\r\na\r\n\r\n\r\nb\r\n\r\n", 2),
        (b"h\n\na\n\n\nb\n\n", 2),
        (b"h\n \na\n", 2),
        (b"h\na\r", 1),
        (b"h\na\n\r", 1),
        (b"\xff\n\0\n", 1),
        (b"h,i\na,b\n,\n,\n", 1),
        (b'h,i\r\n"",""\r\na,b\r\n,\r\n', 1),
        (b"h,i\n,\na,b\n,", 1),
        (b"h,i\n,\r", 0),
        (b'\n,\n"",\nh,i\na,b\n', 1),
        (b'h,i\n""\n,"",,\n', 0),
        (b'h,i\n, \n,x\n"",\\N\n""""\n', 4),
    ],
)
def test_count_rows(tmp_path: Path, suffix: str, text: bytes, rows: int) -> None:
    """Count all lines except the header and blank ones. A line of spaces and a last line without an ending are rows.

    A line with only empty fields is blank.
    """
    assert count_rows(_write(tmp_path, text, suffix)) == rows


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"a\nbc\n", Measure(records=2, empty_rows=0, longest=3, lone_returns=0, lines=2)),
        (b"a\nbc", Measure(records=2, empty_rows=0, longest=3, lone_returns=0, lines=2)),
        (b"a\r\nbc\r\n", Measure(records=2, empty_rows=0, longest=4, lone_returns=0, lines=2)),
        (b"\n\r\na\n\n\r\n", Measure(records=1, empty_rows=0, longest=2, lone_returns=0, lines=5)),
        (b"a\rb\r\r\n\rc\n", Measure(records=2, empty_rows=0, longest=6, lone_returns=3, lines=2)),
        (b"a\n\r", Measure(records=1, empty_rows=0, longest=2, lone_returns=0, lines=2)),
        (b" \n", Measure(records=1, empty_rows=0, longest=2, lone_returns=0, lines=1)),
        (b"", Measure(records=0, empty_rows=0, longest=1, lone_returns=0, lines=0)),
        (b",,\na,b,c\n,b,\n\n", Measure(records=2, empty_rows=1, longest=6, lone_returns=0, lines=4)),
        (b'"","",""\r\n"","b",\r\n\r\n', Measure(records=1, empty_rows=1, longest=10, lone_returns=0, lines=3)),
        (b",,\r\n\r\n,", Measure(records=0, empty_rows=2, longest=4, lone_returns=0, lines=3)),
        (b",\r", Measure(records=0, empty_rows=1, longest=3, lone_returns=0, lines=1)),
        (b",\r,\n,\r\r\n", Measure(records=2, empty_rows=0, longest=4, lone_returns=2, lines=2)),
    ],
)
def test_measure_a_text(text: bytes, seen: Measure) -> None:
    """Blank lines are not records, the longest line includes its ending, and a lone carriage return ends no line."""
    assert measure(text) == seen


EMPTY_ROWS = [b",", b",,,", b'""', b'"",""', b',"",,""', b'"",,']
"""Lines with only empty fields."""

NOT_EMPTY_ROWS = [b'"', b'""""', b'"""",', b'","', b'",,"', b'"",""""', b", ", b",,x", b",\\N", b",0", b'"" ,', b";;"]
"""Lines that look similar, with at least one field that is not empty."""


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_blank_lines(end: bytes) -> None:
    """A line is blank with and without its ending, also if it has only empty fields. A line of spaces is not blank."""
    for line in (b"", *EMPTY_ROWS):
        assert is_blank(line + end), line
    for line in (b" ", b"\r\r", b"a", b"\0", *(line + b"\r\r" for line in EMPTY_ROWS), *NOT_EMPTY_ROWS):
        assert not is_blank(line + end), line


def _is_empty(line: bytes) -> bool:
    """Whether all fields of a line without its line feed are empty."""
    return not any(field.replace(b'""', b"", 1) for field in line.removesuffix(b"\r").split(b","))


@settings(deadline=None, max_examples=200)
@given(text=st.text('a,"\r\n', max_size=20).map(str.encode))
def test_agree_with_splitting_the_text(text: bytes) -> None:
    """The numbers of records, empty rows and lone carriage returns are those found by splitting the text."""
    lines = text.split(b"\n")
    seen = measure(text)
    assert seen.records == sum(not _is_empty(line) for line in lines)
    assert seen.empty_rows == sum(_is_empty(line) and line not in (b"", b"\r") for line in lines)
    assert seen.lone_returns == sum(line.removesuffix(b"\r").count(b"\r") for line in lines)


@pytest.mark.parametrize("read_bytes", [*range(1, 9), 1_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("empty", EMPTY_ROWS)
def test_read_size_does_not_change_the_count_of_empty_rows(
    tmp_path: Path, read_bytes: int, end: bytes, empty: bytes
) -> None:
    """Rows with only empty fields are not counted, wherever a read ends."""
    path = _write(tmp_path, end.join([empty, b"h,i", empty, b"a,b", empty, empty, b"c,", b",d", empty]))
    assert count_rows(path, read_bytes=read_bytes) == 3


@pytest.mark.parametrize("read_bytes", [*range(1, 12), 1_000])
def test_read_size_does_not_change_the_count(tmp_path: Path, read_bytes: int) -> None:
    """Rows are counted once if a read ends inside a line or a line ending."""
    path = _write(tmp_path, b"h\r\n\r\na\r\n\nbb\n\r\nccc\r\n\r\n\r\nd")
    assert count_rows(path, read_bytes=read_bytes) == 4


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 4096, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"\n\n\nlast"])
def test_read_blocks_of_whole_lines(tmp_path: Path, suffix: str, block_bytes: int, end: bytes) -> None:
    """The blocks together are the text, and all but the last end with a line ending."""
    text = TEXT.removesuffix(b"\r\n") + end
    blocks = [block.text for block in read_blocks(_write(tmp_path, text, suffix), block_bytes)]
    assert b"".join(blocks) == text
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert all(blocks)
    longest_line = max(map(len, text.splitlines(keepends=True)))
    assert max(map(len, blocks)) < block_bytes + longest_line


def test_blocks_are_deterministic(tmp_path: Path) -> None:
    """Blocks are the same each time, so that the files written from them are the same."""
    path = _write(tmp_path, TEXT, ".csv.gz")
    assert list(read_blocks(path, 1_000)) == list(read_blocks(path, 1_000))


def test_read_concatenated_gzip_streams(tmp_path: Path) -> None:
    """Files from `cat a.gz b.gz` or a parallel gzip are read to the end. Zero padding is ignored."""
    path = _write_bytes(tmp_path, gzip.compress(TEXT[:100], mtime=0) + gzip.compress(TEXT[100:]) + bytes(512))
    assert _read_all(path) == TEXT
    assert count_rows(path) == 500


def test_agree_with_wc(tmp_path: Path) -> None:
    """Without blank lines, the count is that of `wc -l` minus the header."""
    path = _write(tmp_path, TEXT)
    lines = subprocess.run(["wc", "-l", path], capture_output=True, check=True, text=True).stdout.split()[0]
    assert count_rows(path) == int(lines) - 1


@pytest.mark.parametrize("read", [count_rows, _read_all])
class TestInvalidFiles:
    """Both readers reject a file that is not a valid CSV or gzip file."""

    @pytest.mark.parametrize("kept", [1, 9, 15, 300, len(GZIP) // 2, len(GZIP) - 8, len(GZIP) - 1])
    def test_truncated(self, tmp_path: Path, read: Callable[[Path], object], kept: int) -> None:
        """A gzip stream without its end is an error at any length."""
        with pytest.raises(CorruptFile) as error:
            read(_write_bytes(tmp_path, GZIP[:kept]))
        assert error.value.facts == {"address": "month.csv.gz"}
        assert "month.csv.gz is truncated" in str(error.value)

    def test_truncated_between_lines(self, tmp_path: Path, read: Callable[[Path], object]) -> None:
        """A stream that ends after a complete line is an error too, because only its end shows that it is complete."""
        stream = zlib.compressobj(wbits=31)
        with pytest.raises(CorruptFile):
            read(_write_bytes(tmp_path, stream.compress(TEXT) + stream.flush(zlib.Z_FULL_FLUSH)))

    @pytest.mark.parametrize("offset", [400, len(GZIP) // 2, len(GZIP) - 7, len(GZIP) - 3])
    def test_corrupt(self, tmp_path: Path, read: Callable[[Path], object], offset: int) -> None:
        """A flipped bit in the data, the checksum or the length is an error."""
        content = bytearray(GZIP)
        content[offset] ^= 16
        with pytest.raises(CorruptFile) as error:
            read(_write_bytes(tmp_path, bytes(content)))
        assert "month.csv.gz" in str(error.value)

    def test_garbage_after_the_stream(self, tmp_path: Path, read: Callable[[Path], object]) -> None:
        """Other bytes after the gzip stream are an error."""
        with pytest.raises(CorruptFile):
            read(_write_bytes(tmp_path, GZIP + b"<html><body>502 Bad Gateway</body></html>"))

    @pytest.mark.parametrize("written", ["plain", "as gzip", "in gzip"])
    def test_another_format(self, tmp_path: Path, read: Callable[[Path], object], written: str) -> None:
        """The format of a file is recognized if it is plain, has a gzip suffix, or is compressed."""
        content = b"<!DOCTYPE html><html>"
        path = tmp_path / ("month.csv" if written == "plain" else "month.csv.gz")
        path.write_bytes(gzip.compress(content) if written == "in gzip" else content)
        with pytest.raises(NotACsv) as error:
            read(path)
        assert error.value.facts == {"address": path.name, "format": "an HTML page", "seen": content.decode()}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("month.csv.gz", TEXT),
            ("month.csv", GZIP),
            (".month.csv.0a1b.staged", GZIP),
            (".month.csv.gz.0a1b.staged", TEXT),
        ],
    )
    def test_wrong_suffix(self, tmp_path: Path, read: Callable[[Path], object], name: str, content: bytes) -> None:
        """A file must be compressed if and only if its name says so, also while it is staged."""
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WrongSuffix):
            read(path)

    @pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
    def test_endless_line(self, tmp_path: Path, read: Callable[[Path], object], suffix: str) -> None:
        """A line of 1 MiB or more is an error before it fills the memory."""
        text = TEXT + b"x" * LONGEST_LINE
        with pytest.raises(BadFile) as error:
            read(_write(tmp_path, text, suffix))
        assert error.value.facts["longest_line"] == LONGEST_LINE
        assert "1,048,576 bytes" in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", gzip.compress(b""), gzip.compress(b"\r\n\n\n")], ids=["nothing", "gzip", "blank"]
)
def test_reject_a_file_without_records(tmp_path: Path, content: bytes) -> None:
    """An empty file and a file of blank lines are errors, because even a month without trips has a header."""
    with pytest.raises(EmptyFile) as error:
        count_rows(_write_bytes(tmp_path, content))
    assert error.value.facts == {"address": "month.csv.gz"}


def test_read_a_staged_file(tmp_path: Path) -> None:
    """A staged file has more suffixes, and messages contain its usual name."""
    path = tmp_path / ".month.csv.gz.0a1b.staged"
    path.write_bytes(GZIP)
    assert count_rows(path) == 500
    path.write_bytes(GZIP[:-1])
    with pytest.raises(CorruptFile) as error:
        count_rows(path, "https://example.org/month.csv.gz")
    assert error.value.facts == {"address": "https://example.org/month.csv.gz"}


@pytest.mark.parametrize("length", [LONGEST_LINE, LONGEST_LINE + 1, 3 * LONGEST_LINE])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_reject_a_long_line(tmp_path: Path, length: int, end: bytes) -> None:
    """A line of 1 MiB or more is an error, with or without a line ending."""
    with pytest.raises(BadFile) as error:
        count_rows(_write(tmp_path, b"h\n" + b"x" * (length - len(end)) + end + b"a\nb\n" * bool(end)))
    assert error.value.facts["longest_line"] == LONGEST_LINE


def test_accept_the_longest_line(tmp_path: Path) -> None:
    """A line just below the limit is one row."""
    assert count_rows(_write(tmp_path, b"h\n" + b"x" * (LONGEST_LINE - 2) + b"\na\n")) == 2
