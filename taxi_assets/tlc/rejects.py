"""Rejected lines, and the Parquet file that stores them, with the columns `line`, `reason` and `text`."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter


@dataclass(frozen=True)
class Reject:
    """A line that is not a valid row: its number in the file (the first line is 1), the reason, and its text."""

    line: int
    reason: str
    text: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."
        return f"line {self.line}: {self.reason}: {text!r}"


_SHOWN = 200


def rejected_column(reject: Reject) -> str:
    """Return the column whose value does not fit, which the reason starts with; or the reason itself."""
    return reject.reason.partition(" is not ")[0]


class RejectFile:
    """Writes rejects to a Parquet file. Without any rejects, an existing file stays unchanged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()

    def write(self, rejects: list[Reject]) -> None:
        """Append rejects. Each call writes one row group."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        if not rejects:
            return
        schema = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("text", pa.string())])
        self._writer = self._writer or ParquetWriter(self._path, schema, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist([vars(reject) for reject in rejects], schema))
