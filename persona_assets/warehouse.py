"""The DuckDB file: one writing process at a time, and a partition is replaced whole or not at all.

DuckDB lets one process open a file for writing, and no reader beside it. Every opening therefore goes
through a lock file with a bounded wait, is as short as possible, and never spans a computation or a
request to a model.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl

from persona_assets import sqlfiles
from persona_assets.errors import PersonaAssetsError, WarehouseError, explain
from persona_assets.identity import digest
from persona_assets.locks import held

POLL_S = 0.2


@dataclass(frozen=True)
class Origin:
    """What made a partition: the asset, the run, and the effective profile with its settings as JSON."""

    asset: str
    run_id: str
    profile: str
    settings: str


class Warehouse:
    """The DuckDB file of a home. Every table has `lang` first; a partition is the rows of one `lang`."""

    def __init__(self, path: Path, *, wait_s: float = 120.0) -> None:
        self.path = path
        self._wait_s = wait_s

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for writing, as its only user, with all tables and views in place.

        Raises:
            WarehouseError: somebody else holds the file for longer than the wait, or it is no database.
            StorageError: the disk is full, read-only or out of reach.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._open(read_only=False) as connection:
                _create_schema(connection)
                yield connection
        except (OSError, duckdb.Error) as error:
            raise self._explained(error) from error

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for reading, for as short as possible.

        Raises:
            WarehouseError: there is no file yet, or somebody holds it for longer than the wait.
        """
        if not self.path.exists():
            raise WarehouseError(
                f"nothing has been materialized yet: {self.path} does not exist; try `persona-assets demo`"
            )
        with self._open(read_only=True) as connection:
            current = _is_current(connection)
            if current:
                yield connection
        if not current:
            # Made by another version of the program: bring tables and views up to date first.
            with self.writing() as connection:
                yield connection

    def replace_partition(self, lang: str, tables: Mapping[str, pl.DataFrame], origin: Origin | None = None) -> None:
        """Replace the rows of `lang` in all the given tables, in one transaction.

        The frames are matched to the tables by column name; `ordinal` is added and keeps their order.
        After a failure the old rows of every table are still there.

        Raises:
            WarehouseError: a frame does not fit its table.
            StorageError: the disk is full.
        """
        with self.writing() as connection:
            connection.execute("begin")
            try:
                for table, frame in tables.items():
                    _replace(connection, lang, table, frame)
                if origin:
                    connection.execute(
                        "insert into materializations values (?, ?, ?, ?, ?, ?)",
                        [lang, origin.asset, origin.run_id, origin.profile, origin.settings, _now()],
                    )
                connection.execute("commit")
            except BaseException:
                connection.execute("rollback")
                raise

    def read(self, table: str, lang: str) -> pl.DataFrame:
        """Read one partition in its order, without `ordinal`.

        Raises:
            WarehouseError: no file yet, or somebody holds it for longer than the wait.
        """
        query = f"select * exclude (ordinal) from {table} where lang = ? order by ordinal"
        return self.query(query, [lang])

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> pl.DataFrame:
        """Run a query and return its rows as a Polars frame."""
        with self.reading() as connection:
            frame: pl.DataFrame = connection.sql(sql, params=parameters).pl()
            return frame

    @contextmanager
    def _open(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        with held(self.path, timeout_s=self._wait_s, busy=self._busy):
            connection = self._connect(read_only=read_only)
            try:
                yield connection
            finally:
                connection.close()

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Connect, waiting for programs that do not know the lock file, such as the DuckDB shell."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return duckdb.connect(self.path, read_only=read_only)
            except duckdb.IOException as error:
                holder = re.search(r"PID (\d+)", str(error))
                if not holder:
                    raise self._explained(error) from error
                if time.monotonic() >= deadline:
                    raise self._busy(f"process {holder.group(1)}") from error
                time.sleep(POLL_S)

    def _busy(self, holder: str) -> WarehouseError:
        return WarehouseError(
            f"{self.path} is held by {holder} for more than {self._wait_s:g} s: close it there and run again"
        )

    def _explained(self, error: Exception) -> PersonaAssetsError:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return explain(error) or WarehouseError(f"{self.path}: {first_line}")


def _replace(connection: duckdb.DuckDBPyConnection, lang: str, table: str, frame: pl.DataFrame) -> None:
    strangers = set(frame["lang"].unique()) - {lang} if frame.height else set()
    if strangers:
        raise WarehouseError(f"{table}: rows of {', '.join(sorted(strangers))} in the partition {lang}")
    connection.execute(f"delete from {table} where lang = ?", [lang])
    if frame.height:
        connection.register("incoming", frame.with_row_index("ordinal").to_arrow())
        connection.execute(f"insert into {table} by name select * from incoming")
        connection.unregister("incoming")


def _create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create table if not exists schema_version (version varchar)")
    if _is_current(connection):
        return
    for sql in _schema():
        connection.execute(sql)
    connection.execute("delete from schema_version")
    connection.execute("insert into schema_version values (?)", [digest(*_schema())])


def _schema() -> list[str]:
    # In alphabetical order every view stands after those it reads (`yield_and_cost` after `llm_answers`).
    return [sqlfiles.statement(kind, name) for kind in ("tables", "views") for name in sqlfiles.names(kind)]


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    known = connection.execute("select 1 from duckdb_tables() where table_name = 'schema_version'").fetchall()
    if not known:
        return False
    return connection.execute("select version from schema_version").fetchall() == [(digest(*_schema()),)]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
