"""Embeddings, each computed once: kept by model and text, so that a rerun encodes only new texts.

One SQLite file per model and revision. A text is named by the BLAKE2b-128 hash of its UTF-8 bytes, its
row stored as little-endian float32. Rows are committed a few hundred at a time as they are made, each
time under the file's lock: a killed run loses the last batch at most, and runs of several languages share
a file. Format version 1: the tables below, `PRAGMA user_version = 1`.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.embedders import Embedder
from persona_assets.errors import PersonaAssetsError, explain
from persona_assets.identity import digest
from persona_assets.locks import held

FORMAT_VERSION = 1
LOOKUP_CHUNK = 5_000
# Texts encoded between two commits: minutes of work on a CPU, seconds on a GPU.
ENCODED_AT_ONCE = 512
WAIT_S = 120.0

_TABLES = """
create table if not exists model (name text not null, dimensions integer not null);
create table if not exists vectors (text_hash blob primary key, vector blob not null);
"""


class EmbeddingCacheError(PersonaAssetsError):
    """A file of cached embeddings that cannot be used."""


@dataclass
class Progress:
    """How far the encoding of some texts is; cost is measured in characters, of which time is a function.

    Attributes:
        total: Distinct texts asked for.
        cached: Of them, those that needed no encoding.
        encoded: Of them, those encoded so far.
        chars_left: Characters still to encode.
    """

    total: int
    cached: int
    chars_left: int
    encoded: int = 0
    chars_done: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the rate so far; None before the first batch."""
        if not self.chars_done:
            return None
        return (time.monotonic() - self.started) / self.chars_done * self.chars_left

    def line(self) -> str:
        """One line for a log or a terminal."""
        parts = [f"embeddings: {self.cached + self.encoded}/{self.total} done", f"{self.cached} from the cache"]
        if self.encoded:
            rate = self.encoded / max(time.monotonic() - self.started, 1e-9)
            parts.append(f"{self.encoded} encoded, {rate:.0f}/s")
        if self.eta_s is not None and self.eta_s > 1:
            parts.append(f"about {self.eta_s:.0f} s left")
        return ", ".join(parts)

    def facts(self) -> dict[str, Any]:
        """The same as `line`, for programs."""
        return {
            "stage": "embeddings",
            "total": self.total,
            "done": self.cached + self.encoded,
            "from_cache": self.cached,
            "encoded": self.encoded,
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
        }


def _silent(_: Progress) -> None:
    pass


class CachedEmbedder:
    """An embedder that encodes a text once; its model is loaded when a text is new.

    `on_progress` is told after the cache was searched and after every batch that was encoded.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Embedder],
        folder: Path,
        on_progress: Callable[[Progress], None] = _silent,
    ) -> None:
        self.name = name
        self._load = load
        self._model: Embedder | None = None
        self._path = cache_file(folder, name)
        self._on_progress = on_progress

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as unit rows of shape (texts, dimensions); equal texts have rows equal bit by bit.

        Longest first, in batches of like length. Memory beside the result is one batch.

        Raises:
            EmbeddingCacheError: the file is damaged, or somebody writes to it for longer than the wait.
            StorageError: the disk is full or read-only; batches stored before are kept.
        """
        if not texts:
            return np.empty((0, 0), np.float32)
        hashes = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        first: dict[bytes, int] = {}
        places = np.array([first.setdefault(key, row) for row, key in enumerate(hashes)], np.int64)
        with _opened(self._path) as connection:
            rows = _stored(connection, first, len(texts))
            missing = [row for row in first.values() if rows is None or np.isnan(rows[row, 0])]
            missing.sort(key=lambda row: (-len(texts[row]), texts[row]))
            progress = Progress(len(first), len(first) - len(missing), sum(len(texts[row]) for row in missing))
            self._on_progress(progress)
            for start in range(0, len(missing), ENCODED_AT_ONCE):
                batch = missing[start : start + ENCODED_AT_ONCE]
                made = self._encoded([texts[row] for row in batch])
                _store(connection, self._path, self.name, [hashes[row] for row in batch], made)
                if rows is None:
                    rows = np.full((len(texts), made.shape[1]), np.nan, np.float32)
                rows[batch] = made
                progress.encoded += len(batch)
                progress.chars_done += (done := sum(len(texts[row]) for row in batch))
                progress.chars_left -= done
                self._on_progress(progress)
        if rows is None:
            raise EmbeddingCacheError(f"{self._path} holds no usable row: delete it")
        repeated = np.flatnonzero(places != np.arange(len(texts)))
        rows[repeated] = rows[places[repeated]]
        return rows

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._model is None:
            self._model = self._load()
        return np.ascontiguousarray(self._model.encode(texts), dtype="<f4")


def cache_file(folder: Path, name: str) -> Path:
    """The file of a model; its name is readable, and as unique as the model's."""
    readable = "".join(c if c.isalnum() or c in "-._" else "-" for c in name.partition("@")[0])[-48:].strip("-.")
    return folder / f"{readable}-{digest(name)}.sqlite"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'vectors'").fetchone():
                with _alone(path):
                    connection.execute("pragma journal_mode = wal")
                    connection.executescript(_TABLES)
                    connection.execute(f"pragma user_version = {FORMAT_VERSION}")
            # Without a power cut nothing is lost, and with one only the last batches.
            connection.execute("pragma synchronous = normal")
            yield connection
    except sqlite3.DatabaseError as error:
        raise explain(error) or EmbeddingCacheError(
            f"{path} cannot be used ({error}): delete it, and the texts are encoded again"
        ) from error


def _stored(connection: sqlite3.Connection, wanted: dict[bytes, int], rows: int) -> NDArray[np.float32] | None:
    """The stored rows at their places, NaN elsewhere; None while the file knows no dimensions."""
    known = connection.execute("select dimensions from model").fetchone()
    if not known:
        return None
    found = np.full((rows, known[0]), np.nan, np.float32)
    connection.execute("create temp table wanted (place integer primary key, text_hash blob not null)")
    hashes = list(wanted)
    for start in range(0, len(hashes), LOOKUP_CHUNK):
        chunk = hashes[start : start + LOOKUP_CHUNK]
        connection.execute("delete from wanted")
        connection.executemany("insert into wanted values (?, ?)", [(wanted[key], key) for key in chunk])
        query = "select place, vector from wanted cross join vectors using (text_hash)"
        for place, vector in connection.execute(query):
            found[place] = np.frombuffer(vector, "<f4")
    connection.rollback()
    return found


def _store(
    connection: sqlite3.Connection, path: Path, name: str, hashes: Sequence[bytes], rows: NDArray[np.float32]
) -> None:
    # A row that came out broken is worth another try.
    sound = np.isfinite(rows).all(axis=1)
    stored = [(hashes[place], rows[place].tobytes()) for place in np.flatnonzero(sound).tolist()]
    with _alone(path), connection:
        known = connection.execute("select dimensions from model").fetchone()
        if not known:
            connection.execute("insert into model values (?, ?)", (name, rows.shape[1]))
        elif known[0] != rows.shape[1]:
            raise EmbeddingCacheError(
                f"{path} holds rows of {known[0]} dimensions, {name} gives {rows.shape[1]}: delete the file"
            )
        connection.executemany("insert or ignore into vectors values (?, ?)", stored)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    def busy(holder: str) -> EmbeddingCacheError:
        return EmbeddingCacheError(f"{path} is written by {holder} for more than {WAIT_S:g} s: stop it and run again")

    with held(path, timeout_s=WAIT_S, busy=busy):
        yield
