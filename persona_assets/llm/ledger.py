"""The answer ledger: every answer of a model, stored once, as it arrives, and never paid for twice.

One SQLite file in WAL mode per (stage, language), with one writer at a time. An answer is committed
before anything else happens to it, so it survives the death of the process; a commit that was torn is
rolled back by SQLite at the next opening. Format version 1: tables `answers` and `failures` below,
`PRAGMA user_version = 1`; `docs/ledger.md` describes it in full.
"""

import dataclasses
import json
import operator
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from persona_assets.errors import LedgerError, StorageError, explain
from persona_assets.llm.requests import ANSWER_FIELDS, Answer, Failure, Outcome, Request
from persona_assets.llm.sealing import seal
from persona_assets.locks import held

FORMAT_VERSION = 1
LOOKUP_CHUNK = 5_000
# More would speed up look-ups a little, at the price of memory that grows with the ledger.
CACHE_KIB = 16 * 1024

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
    checksum text,
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


def _insert(verb: str, table: str, fields: Sequence[str]) -> str:
    return f"{verb} into {table} ({', '.join(fields)}) values ({', '.join('?' * len(fields))})"


_RECORD_ANSWER = _insert("insert or replace", "answers", (*ANSWER_FIELDS, "checksum"))
_ADD_ANSWER = _insert("insert or ignore", "answers", (*ANSWER_FIELDS, "checksum"))
_RECORD_FAILURE = _insert("insert or replace", "failures", FAILURE_FIELDS)
_answer_values = operator.attrgetter(*ANSWER_FIELDS)
_failure_values = operator.attrgetter(*FAILURE_FIELDS)

_AMONG = "key in (select value from json_each(?))"
# An answer that was not cut off stands for any limit on its length.
_SETTLED = f"""
select key, max(case when finish_reason = 'length' then max_tokens else 9223372036854775807 end)
from answers where {_AMONG} group by key
"""


class Ledger:
    """The answers of one (stage, language). Opened with `open_ledger`, or `read_ledger` for reading only."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._holds_failures = bool(connection.execute("select exists (select 1 from failures)").fetchone()[0])
        self.path = path

    def record(self, outcome: Outcome) -> None:
        """Store one outcome durably before returning.

        Raises:
            StorageError: the disk is full or read-only; nothing stored before is lost.
        """
        try:
            if isinstance(outcome, Answer):
                self._connection.execute(_RECORD_ANSWER, _sealed(outcome))
                if self._holds_failures:
                    # Each statement is a transaction; in between, an answer outranks an old failure.
                    self._connection.execute("delete from failures where key = ?", (outcome.key,))
            else:
                self._holds_failures = True
                self._connection.execute(_RECORD_FAILURE, _storable(_failure_values(outcome)))
        except sqlite3.OperationalError as error:
            raise self._refusal(error) from error

    def record_all(self, answers: Iterable[Answer]) -> None:
        """Store answers that the ledger does not hold yet, in one transaction; those it holds stay.

        Raises:
            StorageError: the disk is full or read-only; then none of them is stored.
        """
        try:
            self._connection.execute("begin")
            self._connection.executemany(_ADD_ANSWER, (_sealed(answer) for answer in answers))
            self._connection.execute("commit")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            if isinstance(error, sqlite3.OperationalError):
                raise self._refusal(error) from error
            raise

    def forget_failures(self) -> Counter[str]:
        """Delete the recorded failures, so that their requests are asked again; returns counts by class."""
        kinds = Counter(dict(self._connection.execute("select kind, count(*) from failures group by kind")))
        self._connection.execute("delete from failures")
        return kinds

    def settled(self, requests: Sequence[Request]) -> dict[str, str | None]:
        """Which of the requests need not be asked: None for an answer, else the class of a permanent failure.

        The same rule as `lookup`, without reading the answers.
        """
        rooms = {request.key: request.max_tokens for request in requests}
        keys = json.dumps(list(rooms))
        failed = self._connection.execute(f"select key, kind from failures where permanent and {_AMONG}", (keys,))
        found: dict[str, str | None] = dict(failed)
        for key, room in self._connection.execute(_SETTLED, (keys,)):
            if room >= rooms[key]:
                found[key] = None
        return found

    def lookup(self, requests: Sequence[Request]) -> dict[str, Outcome]:
        """Outcomes that stand for the given requests, by key: serving answers and permanent failures."""
        wanted = {request.key: request for request in requests}
        keys = json.dumps(list(wanted))
        found: dict[str, Outcome] = {failure.key: failure for failure in self._failures(keys) if failure.permanent}
        for row in self._rows("answers", ANSWER_FIELDS, f"{_AMONG} order by key, max_tokens", keys):
            answer = Answer(*row)
            if answer.serves(wanted[answer.key]):
                found[answer.key] = answer
        return found

    def failures(self, requests: Sequence[Request]) -> dict[str, Failure]:
        """Recorded failures of the given requests, permanent or not, by key."""
        keys = json.dumps([request.key for request in requests])
        return {failure.key: failure for failure in self._failures(keys)}

    def answers(self) -> Iterator[Answer]:
        """Every stored answer, by key."""
        for row in self._rows("answers", ANSWER_FIELDS, "true order by key, max_tokens"):
            yield Answer(*row)

    def sql(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        """Run one statement on the tables `answers` and `failures`, for tools that work on whole ledgers."""
        return self._connection.execute(statement, parameters)

    def __len__(self) -> int:
        return int(self._connection.execute("select count(*) from answers").fetchone()[0])

    def _failures(self, keys: str) -> Iterator[Failure]:
        for row in self._rows("failures", FAILURE_FIELDS, _AMONG, keys):
            failure = Failure(*row)
            yield dataclasses.replace(failure, permanent=bool(failure.permanent))

    def _rows(self, table: str, fields: Sequence[str], where: str, *parameters: str) -> Iterator[tuple]:  # type: ignore[type-arg]
        return self._connection.execute(f"select {', '.join(fields)} from {table} where {where}", parameters)

    def _refusal(self, error: sqlite3.OperationalError) -> Exception:
        return explain(error) or StorageError(f"the ledger {self.path} cannot be written: {error}")


def _sealed(answer: Answer) -> tuple:  # type: ignore[type-arg]
    values = _storable(_answer_values(answer))
    return (*values, seal(values))


def _storable(values: tuple) -> tuple:  # type: ignore[type-arg]
    """Replace half characters (lone surrogates), which models do write and UTF-8 cannot hold."""
    return tuple(
        value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if isinstance(value, str) and not _encodable(value)
        else value
        for value in values
    )


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def ledger_path(folder: Path, stage: str, lang: str) -> Path:
    """The file of one (stage, language) in the ledger folder of a home."""
    return folder / lang / f"{stage}.sqlite"


@contextmanager
def open_ledger(folder: Path, stage: str, lang: str, *, wait_s: float = 10.0) -> Iterator[Ledger]:
    """Open the ledger of one (stage, language) for reading and writing, as its only writer.

    Args:
        folder: the ledger folder of a home; files are `<folder>/<lang>/<stage>.sqlite`.
        stage: the question asked, such as `text_to_persona`.
        lang: ISO 639-1 code.
        wait_s: how long to wait for another user to finish, in seconds.

    Raises:
        LedgerError: another process holds it (named in the message), or the file is not a ledger.
        StorageError: the disk is full or read-only.
    """
    path = ledger_path(folder, stage, lang)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error) or error from error

    def busy(holder: str) -> LedgerError:
        return LedgerError(f"the ledger {path} is in use by {holder}: wait for it to finish, or stop it, and run again")

    with held(path, timeout_s=wait_s, busy=busy), closing(_connect(path)) as connection:
        _add_checksums(connection)
        yield Ledger(connection, path)


@contextmanager
def read_ledger(folder: Path, stage: str, lang: str) -> Iterator[Ledger]:
    """Open a ledger that exists for reading; neither waits for its writer nor keeps it waiting.

    Raises:
        LedgerError: the file is not a ledger.
    """
    path = ledger_path(folder, stage, lang)
    with closing(_connect(path)) as connection:
        connection.execute("pragma query_only = true")
        yield Ledger(connection, path)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        version = connection.execute("pragma user_version").fetchone()[0]
        if version not in (0, FORMAT_VERSION):
            raise LedgerError(
                f"the ledger {path} has format {version}, this program writes {FORMAT_VERSION}: upgrade it"
            )
        connection.execute("pragma journal_mode = wal")
        # In WAL mode NORMAL loses nothing when the process dies, only (perhaps) the last commits at
        # a power cut, and costs no fsync per answer.
        connection.execute("pragma synchronous = normal")
        connection.execute(f"pragma cache_size = -{CACHE_KIB}")
        if version != FORMAT_VERSION:
            connection.executescript(f"begin; {_TABLES} pragma user_version = {FORMAT_VERSION}; commit;")
    except sqlite3.DatabaseError as error:
        raise explain(error) or LedgerError(
            f"the ledger {path} cannot be opened ({error}): restore it from a copy, or move it away to start anew"
        ) from error
    return connection


def _add_checksums(connection: sqlite3.Connection) -> None:
    """Give the ledger of an earlier program the column, which may be null, so that both can use the file."""
    columns = {row[1] for row in connection.execute("pragma table_info(answers)")}
    if "checksum" not in columns:
        connection.execute("alter table answers add column checksum text")


def chunks(requests: Iterable[Request], size: int = LOOKUP_CHUNK) -> Iterator[list[Request]]:
    """Cut a stream of requests into lists for set-wise lookups."""
    stream = iter(requests)
    while chunk := list(islice(stream, size)):
        yield chunk
