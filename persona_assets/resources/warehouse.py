"""The DuckDB file as a Dagster resource: dagster-duckdb's, behind the lock of the warehouse."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource

from persona_assets.warehouse import Warehouse


class WarehouseResource(DuckDBResource):
    """`DuckDBResource` for a file that many processes write, one at a time.

    The stock `get_connection` retries blindly when another process holds the file; this one waits in
    line, so your own assets can use it beside the platform's.
    """

    def open(self) -> Warehouse:
        """The warehouse at `database`."""
        return Warehouse(Path(self.database))

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for writing, alone, until the block ends."""
        with self.open().writing() as connection:
            yield connection
