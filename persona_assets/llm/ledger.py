"""The answer ledger: every answer of a model, stored once, as it arrives, and never paid for twice.

One SQLite file in WAL mode per (stage, language), with one writer at a time. An answer is committed
before anything else happens to it, so it survives the death of the process; a commit that was torn is
rolled back by SQLite at the next opening. Format version 1: tables `answers` and `failures` below,
`PRAGMA user_version = 1`.
"""

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from persona_assets.errors import LedgerError, StorageError, explain
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.locks import held

FORMAT_VERSION = 1
LOOKUP_CHUNK = 5_000

ANSWER_FIELDS = tuple(field.name for field in dataclasses.fields(Answer))
FAILURE_FIELDS = tuple(field.name for field in dataclasses.fields(Failure))

_TABLES = """
create table if not exists answers (
    key text not null,
    text text not null,
    finish_reason text not null,
    max_tokens integer not null,
    model text not null,
    endpoint text not null,
    prompt_tokens integer,
    cached_tokens integer,
    completion_tokens integer,
    latency_s real,
    attempts integer not null,
    answered_at text not null,
    primary key (key, max_tokens)
);
create table if not exists failures (
    key text primary key,
    kind text not null,
    message text not null,
    attempts integer not null,
    permanent integer not null,
    failed_at text not null
);
"""


class Ledger:
    """The answers of one (stage, language). Opened with `open_ledger`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def record(self, outcome: Outcome) -> None:
        """Store one outcome durably before returning.

        Raises:
            StorageError: the disk is full or read-only; nothing stored before is lost.
        """
        try:
            if isinstance(outcome, Answer):
                self._insert("answers", ANSWER_FIELDS, outcome)
                self._connection.execute("delete from failures where key = ?", (outcome.key,))
            else:
                self._insert("failures", FAILURE_FIELDS, outcome)
            self._connection.commit()
        except sqlite3.OperationalError as error:
            self._connection.rollback()
            raise explain(error) or StorageError(f"the ledger {self.path} cannot be written: {error}") from error

    def record_all(self, answers: Iterable[Answer]) -> None:
        """Store answers that the ledger does not hold yet, in one transaction; those it holds stay."""
        places = ", ".join("?" * len(ANSWER_FIELDS))
        self._connection.executemany(
            f"insert or ignore into answers ({', '.join(ANSWER_FIELDS)}) values ({places})",
            ([getattr(answer, name) for name in ANSWER_FIELDS] for answer in answers),
        )
        self._connection.commit()

    def _insert(self, table: str, fields: Sequence[str], row: Outcome) -> None:
        places = ", ".join("?" * len(fields))
        self._connection.execute(
            f"insert or replace into {table} ({', '.join(fields)}) values ({places})",
            [getattr(row, name) for name in fields],
        )

    def lookup(self, requests: Sequence[Request]) -> dict[str, Outcome]:
        """Outcomes that stand for the given requests, by key: serving answers and permanent failures."""
        wanted = {request.key: request for request in requests}
        keys = json.dumps(list(wanted))
        found: dict[str, Outcome] = {}
        for row in self._rows(
            "failures", FAILURE_FIELDS, "permanent and key in (select value from json_each(?))", keys
        ):
            failure = Failure(*row)
            found[failure.key] = dataclasses.replace(failure, permanent=bool(failure.permanent))
        served = "key in (select value from json_each(?)) order by key, max_tokens"
        for row in self._rows("answers", ANSWER_FIELDS, served, keys):
            answer = Answer(*row)
            if answer.serves(wanted[answer.key]):
                found[answer.key] = answer
        return found

    def failures(self, requests: Sequence[Request]) -> dict[str, Failure]:
        """Recorded failures of the given requests, permanent or not, by key."""
        keys = json.dumps([request.key for request in requests])
        rows = self._rows("failures", FAILURE_FIELDS, "key in (select value from json_each(?))", keys)
        return {row[0]: dataclasses.replace(Failure(*row), permanent=bool(row[4])) for row in rows}

    def answers(self) -> Iterator[Answer]:
        """Every stored answer, by key."""
        for row in self._rows("answers", ANSWER_FIELDS, "true order by key, max_tokens"):
            yield Answer(*row)

    def __len__(self) -> int:
        return int(self._connection.execute("select count(*) from answers").fetchone()[0])

    def _rows(self, table: str, fields: Sequence[str], where: str, *parameters: str) -> Iterator[tuple]:  # type: ignore[type-arg]
        return self._connection.execute(f"select {', '.join(fields)} from {table} where {where}", parameters)


@contextmanager
def open_ledger(folder: Path, stage: str, lang: str, *, wait_s: float = 10.0) -> Iterator[Ledger]:
    """Open the ledger of one (stage, language) for reading and writing, as its only user.

    Args:
        folder: the ledger folder of a home; files are `<folder>/<lang>/<stage>.sqlite`.
        stage: the question asked, such as `text_to_persona`.
        lang: ISO 639-1 code.
        wait_s: how long to wait for another user to finish, in seconds.

    Raises:
        LedgerError: another process holds it (named in the message), or the file is not a ledger.
        StorageError: the disk is full or read-only.
    """
    path = folder / lang / f"{stage}.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error) or error from error

    def busy(holder: str) -> LedgerError:
        return LedgerError(f"the ledger {path} is in use by {holder}: wait for it to finish, or stop it, and run again")

    with held(path, timeout_s=wait_s, busy=busy):
        connection = _connect(path)
        try:
            yield Ledger(connection, path)
        finally:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path)
        version = connection.execute("pragma user_version").fetchone()[0]
        if version not in (0, FORMAT_VERSION):
            raise LedgerError(
                f"the ledger {path} has format {version}, this program writes {FORMAT_VERSION}: upgrade it"
            )
        connection.execute("pragma journal_mode = wal")
        # In WAL mode NORMAL loses nothing when the process dies, only (perhaps) the last commits at
        # a power cut, and costs no fsync per answer.
        connection.execute("pragma synchronous = normal")
        connection.executescript(_TABLES)
        connection.execute(f"pragma user_version = {FORMAT_VERSION}")
        connection.commit()
    except sqlite3.DatabaseError as error:
        raise explain(error) or LedgerError(
            f"the ledger {path} cannot be opened ({error}): restore it from a copy, or move it away to start anew"
        ) from error
    return connection


def chunks(requests: Iterable[Request], size: int = LOOKUP_CHUNK) -> Iterator[list[Request]]:
    """Cut a stream of requests into lists for set-wise lookups."""
    stream = iter(requests)
    while chunk := list(islice(stream, size)):
        yield chunk
