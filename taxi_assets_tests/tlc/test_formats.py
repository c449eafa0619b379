"""Recognize files that are not plain CSVs in UTF-8, and say what they are and how to convert them."""

import bz2
import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from taxi_assets.errors import (
    BadFile,
    CompressedTwice,
    NotACsv,
    ParquetSource,
    SpreadsheetFile,
    WrongEncoding,
    WrongLineEndings,
    WrongPacking,
    WrongSuffix,
)
from taxi_assets.tlc.formats import START_BYTES, require_csv_start
from taxi_assets.tlc.raw import count_rows

TEXT = b"name,value\r\n" + b"".join(b"row %d,%d\r\n" % (number, number**5) for number in range(500))
NAME = "my month.csv"


def _archive(kind: str = "tar") -> bytes:
    """Return a tar archive that contains the text."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:bz2" if kind == "tar.bz2" else "w") as archive:
        member = tarfile.TarInfo("green_tripdata_2020-04.csv")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return written.getvalue()


def _zip(method: int = zipfile.ZIP_DEFLATED, name: str = "green_tripdata_2020-04.csv") -> bytes:
    """Return a zip file that contains the text."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        archive.writestr(name, TEXT)
    return written.getvalue()


PACKED = {
    "tar": (_archive(), "a tar archive"),
    "bzip2": (bz2.compress(TEXT), "a bzip2 file"),
    "xz": (lzma.compress(TEXT), "an xz file"),
    "zstd": (pa.compress(TEXT, "zstd", asbytes=True), "a zstd file"),
    "lz4": (pa.compress(TEXT, "lz4", asbytes=True), "an lz4 file"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(99), "a 7z archive"),
    "tar.bz2": (_archive("tar.bz2"), "a bzip2 file"),
    "zip": (_zip(), "a zip file"),
    "zip, stored": (_zip(zipfile.ZIP_STORED), "a zip file"),
}
"""Archives and compressed files that contain the text, and the name of the format."""

WAYS = ["plain", "as gzip", "in gzip"]
"""How a file is stored: with the suffix of a plain CSV, with that of gzip, and compressed with gzip."""


def _write(folder: Path, content: bytes, way: str) -> Path:
    path = folder / (NAME if way == "plain" else f"{NAME}.gz")
    path.write_bytes(gzip.compress(content) if way == "in gzip" else content)
    return path


def _rejected(folder: Path, content: bytes, way: str, kind: type[BadFile]) -> BadFile:
    """Return the error of a file, which is of exactly this kind, and is printable."""
    path = _write(folder, content, way)
    with pytest.raises(kind) as error:
        count_rows(path)
    assert error.type is kind
    assert error.value.facts["address"] == path.name
    assert path.name in str(error.value)
    assert error.value.explain().isprintable()
    assert error.value.explain().endswith(f"[{kind.slug}]")
    return error.value


def _repair(folder: Path, error: BadFile) -> Path:
    """Run the command in the error, and return the file that it writes."""
    subprocess.run(str(error.facts["command"]), shell=True, cwd=folder, check=True)  # noqa: S602  # as a user does
    return next(folder.glob("fixed.csv*"))


@pytest.mark.parametrize("content", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("way", WAYS)
def test_other_packing(tmp_path: Path, content: tuple[bytes, str], way: str) -> None:
    """The error names the format of an archive or compressed file, shows none of its bytes, and how to extract it."""
    packed, format_ = content
    error = _rejected(tmp_path, packed, way, WrongPacking)
    assert error.facts["format"] == format_
    assert format_ in str(error)
    assert "starts with" not in error.explain()
    assert str(error.facts["command"]) in error.explain()
    if "7z" not in format_:
        assert ("gunzip" in str(error.facts["command"])) == (way == "in gzip")
        assert str(error.facts["command"]).endswith("fixed.csv" if way == "plain" else "| gzip > fixed.csv.gz")


@pytest.mark.parametrize("packing", ["tar", "bzip2", "xz"])
@pytest.mark.parametrize("way", WAYS)
def test_the_command_extracts_the_text(tmp_path: Path, packing: str, way: str) -> None:
    """The command in the error writes a file that can be read."""
    error = _rejected(tmp_path, PACKED[packing][0], way, WrongPacking)
    assert count_rows(_repair(tmp_path, error)) == 500


def test_compressed_twice(tmp_path: Path) -> None:
    """A file that is compressed twice is named as such, and the command removes one compression."""
    error = _rejected(tmp_path, gzip.compress(TEXT), "in gzip", CompressedTwice)
    assert error.facts["format"] == "a gzip file"
    assert count_rows(_repair(tmp_path, error)) == 500


@pytest.mark.parametrize(
    "content",
    [TEXT, b'"dispatching_base_num","pickup_datetime"\r\n', b"\xef\xbb\xbfVendorID,lpep_pickup_datetime\n1,2\n"],
)
def test_a_plain_csv_named_gzip(tmp_path: Path, content: bytes) -> None:
    """A plain CSV with a gzip suffix is named as such, with its first line, and the command compresses it."""
    error = _rejected(tmp_path, content, "as gzip", WrongSuffix)
    assert error.facts["seen"] == content.decode("utf-8-sig").splitlines()[0]
    assert error.facts["suffix"] == ".csv"
    assert repr(error.facts["seen"]) in str(error)
    assert "not compressed" in str(error)
    assert count_rows(_repair(tmp_path, error)) == content.count(b"\n") - 1


def test_a_gzip_file_named_csv(tmp_path: Path) -> None:
    """A gzip file with the suffix of a plain CSV is named as such, and the command decompresses it."""
    error = _rejected(tmp_path, gzip.compress(TEXT), "plain", WrongSuffix)
    assert error.facts["suffix"] == ".csv.gz"
    assert count_rows(_repair(tmp_path, error)) == 500


@pytest.mark.parametrize("way", WAYS)
def test_parquet(tmp_path: Path, way: str) -> None:
    """A Parquet file is named as such, and the remedy is a source whose names end in .parquet."""
    error = _rejected(tmp_path, b"PAR1\x15\x04" + bytes(5_000), way, ParquetSource)
    assert "TAXI_SOURCE_URL end in .parquet" in error.explain()


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (_zip(name="[Content_Types].xml"), "an Excel workbook"),
        (_zip(name="xl/workbook.xml"), "an Excel workbook"),
        (_zip(name="_rels/.rels"), "an Excel workbook"),
        (_zip(name="mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "an OpenDocument spreadsheet"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "an Excel workbook"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_spreadsheet(tmp_path: Path, content: bytes, format_: str, way: str) -> None:
    """A workbook is named as such, although it is a zip file."""
    assert _rejected(tmp_path, content, way, SpreadsheetFile).facts["format"] == format_


@pytest.mark.parametrize(
    ("codec", "bom", "encoding"),
    [
        ("utf-16-le", "\ufeff", "UTF-16"),
        ("utf-16-be", "\ufeff", "UTF-16"),
        ("utf-32-le", "\ufeff", "UTF-32"),
        ("utf-32-be", "\ufeff", "UTF-32"),
        ("utf-16-le", "", "UTF-16LE"),
        ("utf-16-be", "", "UTF-16BE"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_other_encoding(tmp_path: Path, codec: str, bom: str, encoding: str, way: str) -> None:
    """The encoding is named, the first line is shown as text, and the command converts the file."""
    error = _rejected(tmp_path, (bom + TEXT.decode()).encode(codec), way, WrongEncoding)
    assert error.facts["encoding"] == encoding
    assert error.facts["seen"] == "name,value"
    assert "'name,value'" in str(error)
    fixed = _repair(tmp_path, error)
    assert (gzip.decompress(fixed.read_bytes()) if fixed.suffix == ".gz" else fixed.read_bytes()) == TEXT


@pytest.mark.parametrize("content", ["a,b\n1,2\n".encode("utf-16-le"), "\ufeffa".encode("utf-16-be"), b"\xff\xfe"])
def test_short_text_in_another_encoding(tmp_path: Path, content: bytes) -> None:
    """A few bytes are enough."""
    _rejected(tmp_path, content, "plain", WrongEncoding)


@pytest.mark.parametrize("way", WAYS)
def test_carriage_returns(tmp_path: Path, way: str) -> None:
    """Lines that end in a carriage return only are named as such, and the command converts the file."""
    error = _rejected(tmp_path, TEXT.replace(b"\r\n", b"\r"), way, WrongLineEndings)
    assert count_rows(_repair(tmp_path, error)) == 500


@pytest.mark.parametrize(
    ("content", "format_", "seen"),
    [
        (b"<!DOCTYPE html>\n<html>", "an HTML page", "<!DOCTYPE html>"),
        (b"\r\n  <html lang='en'><p>Not Found", "an HTML page", "<html lang='en'><p>Not Found"),
        (b"\xef\xbb\xbf<!doctype HTML>", "an HTML page", "<!doctype HTML>"),
        (b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code>", "an XML document", "<?xml version='1.0'?>"),
        (b"<Error><Code>AccessDenied</Code></Error>", "HTML or XML", "<Error><Code>AccessDenied</Code></Error>"),
        (b'{"message": "Not Found"}', "JSON", '{"message": "Not Found"}'),
        (b"[404, 0]", "JSON", "[404, 0]"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "a Git LFS pointer to the file",
            "version https://git-lfs.github.com/spec/v1",
        ),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_other_text_format(tmp_path: Path, content: bytes, format_: str, seen: str, way: str) -> None:
    """The error names the format that a server sent instead of a CSV, and shows its start."""
    error = _rejected(tmp_path, content, way, NotACsv)
    assert error.facts == {"address": error.facts["address"], "format": format_, "seen": seen}
    assert format_ in str(error)
    assert repr(seen) in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "content", [b"Not Found", b"Sorry, this file has moved.", b"VendorID\tlpep_pickup_datetime\n1\t2\n"]
)
def test_other_text_named_gzip(tmp_path: Path, content: bytes) -> None:
    """A text that is not a CSV with commas and has a gzip suffix is shown."""
    error = _rejected_text(tmp_path, content)
    assert error.facts == {"address": f"{NAME}.gz", "seen": content.decode().splitlines()[0]}


def _rejected_text(folder: Path, content: bytes) -> NotACsv:
    with pytest.raises(NotACsv) as error:
        count_rows(_write(folder, content, "as gzip"))
    assert error.type is NotACsv
    return error.value


def test_a_character_cut_in_half_is_not_shown(tmp_path: Path) -> None:
    """The start that is shown ends before a character of which only a part was read."""
    with pytest.raises(WrongSuffix) as error:
        count_rows(_write(tmp_path, b"a," + "\u00e9".encode() * 100, "as gzip"))
    assert str(error.value.facts["seen"]) == "a," + "\u00e9" * 31


@pytest.mark.parametrize("content", [bytes(100), b"\x80\x81\x82\n", b"\x1b[31mred\n", b"ab\x07,cd\n", b"\x1f"])
def test_an_unknown_binary_file_named_gzip(tmp_path: Path, content: bytes) -> None:
    """The error of a file that is neither gzip nor text does not show its bytes."""
    with pytest.raises(BadFile) as error:
        count_rows(_write(tmp_path, content, "as gzip"))
    assert error.value.facts == {"address": f"{NAME}.gz"}
    assert "starts with" not in error.value.explain()
    assert error.value.explain().isprintable()


@pytest.mark.parametrize("content", [bytes(range(128, 256)) * 9, b"VendorID" + bytes(99), b"\x89PNG\r" + bytes(99)])
@pytest.mark.parametrize("way", ["plain", "in gzip"])
def test_an_unknown_binary_file(tmp_path: Path, content: bytes, way: str) -> None:
    """The error of a file that is not a text does not show its bytes."""
    error = _rejected(tmp_path, content, way, NotACsv)
    assert error.facts == {"address": error.facts["address"]}
    assert error.explain().isascii()


@pytest.mark.parametrize("text", [TEXT, b"\xef\xbb\xbf" + TEXT, b"\r\n\r\n" + TEXT, b"a,b\r", b"", b"caf\xe9,b\n"])
@pytest.mark.parametrize("length", [64, START_BYTES])
def test_a_csv_is_accepted(text: bytes, length: int) -> None:
    """A CSV is accepted with a byte order mark of UTF-8, with blank lines, and from a few bytes of it."""
    require_csv_start(text[:length], ".csv", "month.csv")
    require_csv_start(gzip.compress(text)[:length], ".csv.gz", "month.csv.gz")
