"""What the stores of an installation hold, and how it differs from another load, row by row.

It is read with DuckDB and psycopg2 alone, not with the code that is tested.
"""

import filecmp
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from installation import MONTH, Installation, cursor_of

if TYPE_CHECKING:
    import duckdb

STORES = ("raw", "clean", "rejected", "lake", "warehouse", "postgres")
"""The stores, each of which is a file of a snapshot."""

_STEPS = {"raw": "", "clean": "raw", "lake": "clean", "warehouse": "lake", "postgres": "clean"}
"""The steps, and the one whose result each of them reads."""


@dataclass(frozen=True)
class Leftovers:
    """Names of what an installation has besides rows: files, tables, and what is open in Postgres."""

    files: frozenset[str]
    tables: frozenset[str]
    open: frozenset[str]

    def beyond(self, other: "Leftovers") -> list[str]:
        """Return what this one has and the other does not, and the reverse."""
        more = (self.files - other.files) | (self.tables - other.tables) | (self.open - other.open)
        less = (other.files - self.files) | (other.tables - self.tables)
        return [*(f"left behind: {name}" for name in sorted(more)), *(f"missing: {name}" for name in sorted(less))]


def take_snapshot(installation: Installation, folder: Path) -> None:
    """Copy the contents of all stores to a new folder: a file for each store that has any. Call it in a child."""
    import duckdb

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    home = installation.home
    found = {
        "raw": home / "raw" / MONTH.color / f"{MONTH.stem}.csv.gz",
        "clean": home / "clean" / MONTH.color / f"{MONTH.stem}.parquet",
        "rejected": _rejected(home),
        "lake": home / "lake" / MONTH.object_name,
    }
    for store, path in found.items():
        if path and path.exists():
            shutil.copyfile(path, folder / store)
    warehouse = home / "warehouse.duckdb"
    if warehouse.exists():
        with duckdb.connect(warehouse, read_only=True) as database:
            database.execute(f"COPY {MONTH.table} TO '{folder / 'warehouse'}' (FORMAT parquet)")
    _export(installation.postgres, folder / "postgres")


def _rejected(home: Path) -> Path | None:
    """Return the rejected rows that a reader of the clean file finds."""
    from taxi_assets.stores.files.home import Home

    clean = Home(home, ".csv.gz")
    return clean.find_rejected(MONTH) if clean.clean_items(MONTH) else None


def _export(url: str, path: Path) -> None:
    with cursor_of(url) as cursor, path.open("wb") as file:
        cursor.copy_expert(f"COPY (SELECT * FROM public.{MONTH.table}) TO STDOUT (FORMAT csv)", file)


def differences(seen: Path, expected: Path) -> dict[str, str]:
    """Return how each store of a snapshot differs from that of another. Stores that are equal are left out."""
    import duckdb

    found = {}
    with duckdb.connect() as database:
        for store in STORES:
            mine, theirs = seen / store, expected / store
            if not mine.exists() or not theirs.exists():
                if mine.exists() != theirs.exists():
                    found[store] = "does not exist" if theirs.exists() else "exists"
            elif store == "raw":
                if not filecmp.cmp(mine, theirs, shallow=False):
                    found[store] = "has other bytes"
            elif how := _difference(database, store, mine, theirs):
                found[store] = how
    return found


def _difference(database: "duckdb.DuckDBPyConnection", store: str, mine: Path, theirs: Path) -> str:
    """Return how many rows differ, or whether the metadata of a file does, in words; "" if nothing does."""
    import duckdb

    def read(path: Path) -> str:
        if store == "postgres":
            return f"read_csv('{path}', header = false, all_varchar = true, quote = '\"')"
        return f"read_parquet('{path}')"

    if not mine.stat().st_size and theirs.stat().st_size:
        return "is empty"
    one, other = f"SELECT * FROM {read(mine)}", f"SELECT * FROM {read(theirs)}"
    try:
        counted = database.execute(
            f"SELECT count(*) FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one}))"
        )
        [(rows,)] = counted.fetchall()
        metadata = [] if store == "postgres" else [_metadata(database, path) for path in (mine, theirs)]
    except duckdb.Error as error:
        return f"cannot be read: {error}"
    if rows:
        return f"{rows:,} rows differ"
    return "has other metadata" if metadata and metadata[0] != metadata[1] else ""


def _metadata(database: "duckdb.DuckDBPyConnection", path: Path) -> list[tuple[bytes, bytes]]:
    """Return what the footer of a Parquet file says about its source and version."""
    sql = "SELECT key, value FROM parquet_kv_metadata(?) ORDER BY ALL"
    return database.execute(sql, [str(path)]).fetchall()


def versions(seen: Path, references: dict[str, Path]) -> dict[str, str]:
    """Return which of the references each store of a snapshot equals, or else how it differs from each of them."""
    differs = {name: differences(seen, path) for name, path in references.items()}
    found = {}
    for store in STORES:
        equal = [name for name, stores in differs.items() if store not in stores]
        described = "; ".join(f"{name}: {stores[store]}" for name, stores in differs.items() if store in stores)
        found[store] = equal[0] if equal else f"neither ({described})"
    return found


def read_versions(installation: Installation, folder: Path, references: dict[str, Path]) -> dict[str, str]:
    """Take a snapshot, and return what `versions` does. Call it in a child."""
    take_snapshot(installation, folder)
    return versions(folder, references)


def compare(installation: Installation, folder: Path, expected: Path, leftovers: Leftovers) -> list[str]:
    """Take a snapshot, and return how the installation differs from an undisturbed one. Call it in a child."""
    take_snapshot(installation, folder)
    differ = [f"{store} {how}" for store, how in differences(folder, expected).items()]
    return differ + look_around(installation).beyond(leftovers)


def misplaced(found: dict[str, str], step: str, new: str) -> list[str]:
    """Return the stores that show that a load was not killed in a step: the steps before it are done, none after it.

    Any other word than a step, such as that for an event, says nothing about the stores.
    """
    if step not in _STEPS:
        return []
    earlier, later = _before(step), [each for each in _STEPS if step in _before(each)]
    undone = [f"the load had not finished {store}" for store in earlier if found[store] != new]
    return undone + [f"the load had finished {store} already" for store in later if found[store] == new]


def _before(step: str) -> list[str]:
    """Return the steps that must be done before a step."""
    upstream = _STEPS[step]
    return [*_before(upstream), upstream] if upstream else []


def impossible(found: dict[str, str], references: dict[str, Path], new: str) -> list[str]:
    """Return what readers must never see: part of a month, or a new month whose source is still the old one."""
    partial = [f"{store} has {version}" for store, version in found.items() if version not in references]
    ahead = [
        f"{store} is new, but {upstream} is old"
        for store, upstream in {**_STEPS, "rejected": "clean"}.items()
        if upstream and found[store] == new and found[upstream] in references and found[upstream] != new
    ]
    return partial + ahead


def look_around(installation: Installation) -> Leftovers:
    """List the files, the tables and what is open in Postgres. Call it in a child."""
    import duckdb

    home, files = installation.home, {f"tmp/{path.name}" for path in installation.temporary.iterdir()}
    for path in home.rglob("*"):
        name = str(path.relative_to(installation.disk))
        # Dagster keeps a history of runs: it grows with each.
        if not path.is_dir() and (not name.startswith("home/dagster/") or name.endswith((".staged", ".new"))):
            files.add(name)
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as database:
        found = database.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        tables = {f"warehouse table {name}" for (name,) in found}
    with cursor_of(installation.postgres) as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        tables |= {f"Postgres relation {name}" for (name,) in cursor.fetchall()}
        cursor.execute(
            "SELECT 'session: ' || left(query, 80) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
            "UNION SELECT 'advisory lock of ' || pid FROM pg_locks WHERE locktype = 'advisory'"
        )
        sessions = {f"Postgres {what}" for (what,) in cursor.fetchall()}
    return Leftovers(frozenset(files), frozenset(tables), frozenset(sessions))
