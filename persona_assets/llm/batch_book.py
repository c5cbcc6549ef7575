"""What was handed to a provider's batch API and is still to be collected: remembered beside the ledger.

A batch costs money from the moment it is created, and takes up to a day; whoever dies in between must find
it again. So a batch is entered here before it is created, under a name that goes along as its metadata.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from persona_assets.errors import LedgerError, explain

_TABLES = """
create table if not exists batches (
    name text primary key,
    host text not null,
    model text not null,
    batch_id text,
    state text not null,
    prepared_at real not null
);
create table if not exists entries (
    name text not null,
    key text not null,
    max_tokens integer not null,
    primary key (name, key)
) without rowid;
create index if not exists entries_by_key on entries (key);
"""


@dataclass(frozen=True)
class BatchNote:
    """A batch of this ledger: `batch_id` is None while it is not known to have been created.

    `prepared_at` is in seconds since the epoch.
    """

    name: str
    host: str
    model: str
    batch_id: str | None
    prepared_at: float


class BatchBook:
    """The batches of one (stage, language). Opened with `open_book`, by the holder of the ledger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def prepare(self, host: str, model: str, rooms: Iterable[tuple[str, int]]) -> BatchNote:
        """Enter a batch that is about to be created, with the key and `max_tokens` of each of its requests."""
        note = BatchNote(uuid4().hex, host, model, None, time.time())
        with self._connection:
            self._connection.execute(
                "insert into batches values (?, ?, ?, null, 'open', ?)", (note.name, host, model, note.prepared_at)
            )
            self._connection.executemany(
                "insert into entries values (?, ?, ?)", ((note.name, key, room) for key, room in rooms)
            )
        return note

    def created(self, note: BatchNote, batch_id: str) -> None:
        """Note that the provider has the batch, under this identifier."""
        with self._connection:
            self._connection.execute("update batches set batch_id = ? where name = ?", (batch_id, note.name))

    def close(self, note: BatchNote, state: str) -> None:
        """Note that nothing more comes from a batch; its requests are free to be asked again."""
        with self._connection:
            self._connection.execute("update batches set state = ? where name = ?", (state, note.name))
            self._connection.execute("delete from entries where name = ?", (note.name,))

    def open(self) -> list[BatchNote]:
        """The batches from which something may still come, oldest first."""
        rows = self._connection.execute(
            "select name, host, model, batch_id, prepared_at from batches where state = 'open' order by prepared_at"
        )
        return [BatchNote(*row) for row in rows]

    def rooms(self, note: BatchNote) -> dict[str, int]:
        """`max_tokens` of the requests of an open batch, by key."""
        return dict(self._connection.execute("select key, max_tokens from entries where name = ?", (note.name,)))

    def under_way(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys are in an open batch."""
        rows = self._connection.execute(
            "select key from entries where key in (select value from json_each(?))", (json.dumps(keys),)
        )
        return {key for (key,) in rows}


@contextmanager
def open_book(ledger_path: Path) -> Iterator[BatchBook]:
    """Open the book beside a ledger that the caller holds; files are `<ledger>/<lang>/<stage>.batches`.

    Raises:
        LedgerError: the file is no such book.
        StorageError: the disk is full or read-only.
    """
    path = ledger_path.with_suffix(".batches")
    try:
        connection = sqlite3.connect(path)
        connection.execute("pragma journal_mode = wal")
        # Losing an entry at a power cut would mean paying for its batch twice.
        connection.execute("pragma synchronous = full")
        connection.executescript(_TABLES)
    except sqlite3.DatabaseError as error:
        raise explain(error) or LedgerError(
            f"the batches file {path} cannot be opened ({error}): restore it from a copy; without it, answers of"
            " batches under way are lost"
        ) from error
    try:
        yield BatchBook(connection)
    finally:
        connection.close()
