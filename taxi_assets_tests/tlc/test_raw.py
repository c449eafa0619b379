"""Raw files are read in whole lines whatever their compression, and what is no sound file is refused."""

import gzip
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxi_assets.errors import BadFile
from taxi_assets.tlc import raw
from taxi_assets.tlc.raw import LONGEST_LINE, Measure, count_rows, is_blank, measure, read_blocks

TEXT = b"name,value\r\n" + b"".join(b"row %d,%d\r\n" % (number, number**5) for number in range(500))
GZIP = gzip.compress(TEXT, mtime=0)


@pytest.fixture(params=[".csv", ".csv.gz"])
def suffix(request: pytest.FixtureRequest) -> str:
    """Plain and compressed."""
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
    return b"".join(read_blocks(path, 1_000))


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
    ],
)
def test_rows_are_the_lines_but_for_the_header_and_blank_ones(
    tmp_path: Path, suffix: str, text: bytes, rows: int
) -> None:
    """A line of nothing but its end is no row; a last line without an end is one, and so is a line of spaces."""
    assert count_rows(_write(tmp_path, text, suffix)) == rows


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"a\nbc\n", Measure(records=2, longest=3, lone_returns=0)),
        (b"a\nbc", Measure(records=2, longest=3, lone_returns=0)),
        (b"a\r\nbc\r\n", Measure(records=2, longest=4, lone_returns=0)),
        (b"\n\r\na\n\n\r\n", Measure(records=1, longest=2, lone_returns=0)),
        (b"a\rb\r\r\n\rc\n", Measure(records=2, longest=6, lone_returns=3)),
        (b"a\n\r", Measure(records=1, longest=2, lone_returns=0)),
        (b" \n", Measure(records=1, longest=2, lone_returns=0)),
        (b"", Measure(records=0, longest=1, lone_returns=0)),
    ],
)
def test_what_is_told_of_a_text_before_it_is_parsed(text: bytes, seen: Measure) -> None:
    """Blank lines are no records, the longest line counts its end, and a carriage return alone ends none."""
    assert measure(text) == seen


def test_blank_lines_have_nothing_but_their_end() -> None:
    """A line is blank with and without its end; spaces are something."""
    assert all(map(is_blank, (b"", b"\n", b"\r\n", b"\r")))
    assert not any(map(is_blank, (b" ", b" \n", b"\r\r\n", b"a", b"\0")))


@settings(deadline=None, max_examples=100)
@given(text=st.text("a\r\n", max_size=20).map(str.encode))
def test_records_are_those_that_a_plain_count_finds(text: bytes) -> None:
    """Lines that are not blank, and carriage returns that end no line, are as many as splitting the text finds."""
    lines = text.split(b"\n")
    seen = measure(text)
    assert seen.records == sum(line not in (b"", b"\r") for line in lines)
    assert seen.lone_returns == sum(line.removesuffix(b"\r").count(b"\r") for line in lines)


@pytest.mark.parametrize("read_bytes", [*range(1, 12), 1_000])
def test_rows_are_counted_alike_however_much_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    """No row is counted twice or missed where one read ends and the next starts, within a line end too."""
    monkeypatch.setattr(raw, "_READ_BYTES", read_bytes)
    assert count_rows(_write(tmp_path, b"h\r\n\r\na\r\n\nbb\n\r\nccc\r\n\r\n\r\nd")) == 4


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 4096, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"\n\n\nlast"])
def test_blocks_are_the_text_in_whole_lines(tmp_path: Path, suffix: str, block_bytes: int, end: bytes) -> None:
    """Blocks together are the text, byte by byte, and each but the last ends where a line does."""
    text = TEXT.removesuffix(b"\r\n") + end
    blocks = list(read_blocks(_write(tmp_path, text, suffix), block_bytes))
    assert b"".join(blocks) == text
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert all(blocks)
    longest_line = max(map(len, text.splitlines(keepends=True)))
    assert max(map(len, blocks)) < block_bytes + longest_line


def test_a_file_is_read_once_more_alike(tmp_path: Path) -> None:
    """Blocks end at the same bytes on each reading, so that the files made of them are the same."""
    path = _write(tmp_path, TEXT, ".csv.gz")
    assert list(read_blocks(path, 1_000)) == list(read_blocks(path, 1_000))


def test_several_gzip_streams_in_a_file_are_one_text(tmp_path: Path) -> None:
    """What `cat a.gz b.gz` or a parallel gzip makes is read to its end, and padding of zeros is none of it."""
    path = _write_bytes(tmp_path, gzip.compress(TEXT[:100], mtime=0) + gzip.compress(TEXT[100:]) + bytes(512))
    assert _read_all(path) == TEXT
    assert count_rows(path) == 500


def test_count_is_that_of_other_programs(tmp_path: Path) -> None:
    """Without blank lines the count is that of `wc -l`, less the header."""
    path = _write(tmp_path, TEXT)
    lines = subprocess.run(["wc", "-l", path], capture_output=True, check=True, text=True).stdout.split()[0]
    assert count_rows(path) == int(lines) - 1


@pytest.mark.parametrize("read", [count_rows, _read_all])
class TestUnsound:
    """Both readers refuse what is no sound file, in words that say what to do."""

    @pytest.mark.parametrize("kept", [1, 9, 15, 300, len(GZIP) // 2, len(GZIP) - 8, len(GZIP) - 1])
    def test_cut_short(self, tmp_path: Path, read: Callable[[Path], object], kept: int) -> None:
        """A gzip stream without its end is refused, wherever it is cut: rows are missing."""
        with pytest.raises(BadFile, match=r"month\.csv\.gz is cut short: .* Fetch it again"):
            read(_write_bytes(tmp_path, GZIP[:kept]))

    def test_cut_short_between_lines(self, tmp_path: Path, read: Callable[[Path], object]) -> None:
        """A stream that stops after a whole line is refused as well: only its end says that it is whole."""
        stream = zlib.compressobj(wbits=31)
        with pytest.raises(BadFile, match="is cut short"):
            read(_write_bytes(tmp_path, stream.compress(TEXT) + stream.flush(zlib.Z_FULL_FLUSH)))

    @pytest.mark.parametrize("place", [400, len(GZIP) // 2, len(GZIP) - 7, len(GZIP) - 3])
    def test_corrupt(self, tmp_path: Path, read: Callable[[Path], object], place: int) -> None:
        """A flipped bit, in the data, the checksum or the length, is noticed."""
        content = bytearray(GZIP)
        content[place] ^= 16
        with pytest.raises(BadFile, match=r"month\.csv\.gz is (no sound gzip file: .*|cut short: .*)Fetch it again"):
            read(_write_bytes(tmp_path, bytes(content)))

    def test_garbage_after_the_stream(self, tmp_path: Path, read: Callable[[Path], object]) -> None:
        """Bytes after the stream that are no stream are refused."""
        with pytest.raises(BadFile, match="is no sound gzip file"):
            read(_write_bytes(tmp_path, GZIP + b"<html><body>502 Bad Gateway</body></html>"))

    def test_plain_text_as_gzip(self, tmp_path: Path, read: Callable[[Path], object]) -> None:
        """A CSV that is called gzip and is none is refused, with its first bytes and where to look."""
        with pytest.raises(BadFile, match=r"month\.csv\.gz is no gzip file: it starts with 'name,value'\. Look at"):
            read(_write_bytes(tmp_path, TEXT))
        with pytest.raises(BadFile, match=r"month\.csv\.gz is no gzip file: it starts with 'Not Found'\. Look at"):
            read(_write_bytes(tmp_path, b"Not Found"))

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"<!DOCTYPE html>\n<html>", "an HTML page, no CSV: it starts with '<!DOCTYPE html>'"),
            (
                b"\r\n  <html lang='en'><p>Not Found",
                '''an HTML page, no CSV: it starts with "<html lang='en'><p>Not Found"''',
            ),
            (b"\xef\xbb\xbf<!doctype HTML>", "an HTML page, no CSV: it starts with '<!doctype HTML>'"),
            (b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code>", "an XML document, no CSV: it starts with"),
            (
                b"<Error><Code>AccessDenied</Code></Error>",
                "HTML or XML, no CSV: it starts with '<Error><Code>AccessDenied",
            ),
            (b'{"message": "Not Found"}', 'JSON, no CSV: it starts with \'{"message": "Not Found"}\''),
            (b"[404, 0]", "JSON, no CSV: it starts with '[404, 0]'"),
            (b"PAR1\x15\x04" + bytes(LONGEST_LINE), "a Parquet file, no CSV: it starts with 'PAR1"),
            (b"PK\x03\x04\x14\0" * 99, "a zip file, no CSV: it starts with 'PK"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
                "a Git LFS pointer to the file, no CSV: it starts",
            ),
        ],
    )
    @pytest.mark.parametrize("written", ["plain", "as gzip", "in gzip"])
    def test_other_format(
        self, tmp_path: Path, read: Callable[[Path], object], content: bytes, said: str, written: str
    ) -> None:
        """What a server sends in place of a CSV is named, whether it was asked for a CSV or a gzip, or packed it."""
        path = tmp_path / ("month.csv" if written == "plain" else "month.csv.gz")
        path.write_bytes(gzip.compress(content) if written == "in gzip" else content)
        with pytest.raises(BadFile, match=re.escape(f"{path.name} is {said}")) as refused:
            read(path)
        assert ". Look at its address, what is there" in str(refused.value)
        assert len(str(refused.value)) < 500

    def test_gzip_as_plain_text(self, tmp_path: Path, read: Callable[[Path], object]) -> None:
        """A gzip file that is called a plain CSV is named, and so is one that was packed twice."""
        plain = tmp_path / "month.csv"
        plain.write_bytes(GZIP)
        for path in (plain, _write_bytes(tmp_path, gzip.compress(GZIP))):
            with pytest.raises(BadFile, match=rf"{path.name} is a gzip file, no CSV: it starts with"):
                read(path)

    @pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
    def test_line_that_does_not_end(self, tmp_path: Path, read: Callable[[Path], object], suffix: str) -> None:
        """A line of a MiB or more stops the reading before memory is full of it."""
        text = TEXT + b"x" * LONGEST_LINE
        with pytest.raises(BadFile, match="has a line of 1,048,576 bytes or more: expected a CSV with short lines"):
            read(_write(tmp_path, text, suffix))


@pytest.mark.parametrize(
    "content", [b"", gzip.compress(b""), gzip.compress(b"\r\n\n\n")], ids=["nothing", "gzip", "blank"]
)
def test_file_without_a_record_is_refused(tmp_path: Path, content: bytes) -> None:
    """No bytes, and blank lines only, are no month: even a month without trips has a header."""
    with pytest.raises(BadFile, match=r"month\.csv\.gz is empty: expected a header and rows"):
        count_rows(_write_bytes(tmp_path, content))


def test_file_on_its_way_is_read_as_what_it_will_be_and_called_by_its_name(tmp_path: Path) -> None:
    """A staged file has more suffixes; messages call it what people know it by."""
    path = tmp_path / ".month.csv.gz.0a1b.staged"
    path.write_bytes(GZIP)
    assert count_rows(path) == 500
    path.write_bytes(GZIP[:-1])
    with pytest.raises(BadFile, match=r"^yellow 2021-01 is cut short"):
        count_rows(path, "yellow 2021-01")


@pytest.mark.parametrize("length", [LONGEST_LINE, LONGEST_LINE + 1, 3 * LONGEST_LINE])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_long_line_is_refused_and_not_counted_twice(tmp_path: Path, length: int, end: bytes) -> None:
    """A line of a MiB or more is refused wherever it stands, though it ends."""
    with pytest.raises(BadFile, match="has a line of 1,048,576 bytes or more"):
        count_rows(_write(tmp_path, b"h\n" + b"x" * (length - len(end)) + end + b"a\nb\n" * bool(end)))


def test_line_just_short_of_the_limit_is_a_row(tmp_path: Path) -> None:
    """The longest line that may be counts once."""
    assert count_rows(_write(tmp_path, b"h\n" + b"x" * (LONGEST_LINE - 2) + b"\na\n")) == 2
