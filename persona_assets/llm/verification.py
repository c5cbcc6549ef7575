"""Verifies the ledgers of a home: SQLite's own structures, the format, and the checksum of every answer.

Nothing is changed, and a run may go on meanwhile.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from persona_assets.llm.ledger import FAILURE_FIELDS, FORMAT_VERSION
from persona_assets.llm.requests import ANSWER_FIELDS
from persona_assets.llm.sealing import seal
from persona_assets.llm.write_ahead import examine_log

_COLUMNS = {"answers": ANSWER_FIELDS, "failures": FAILURE_FIELDS}

_NO_KEY = "typeof(key) != 'text' or length(key) != 32 or key glob '*[^0-9a-f]*'"
_ODD_ROWS = f"""
select key, what from (
    select key, case
        when {_NO_KEY} then 'an answer whose key is not one'
        when typeof(text) != 'text' then 'the text of the answer is not a text'
        when typeof(max_tokens) != 'integer' or max_tokens < 1 then 'max_tokens is not a positive number'
        when typeof(attempts) != 'integer' or attempts < 1 then 'attempts is not a positive number'
    end as what from answers
    union all
    select key, case when {_NO_KEY} then 'a failure whose key is not one' end from failures
) where what is not null
"""
# Not by the index: this is to find what has got past it.
_DUPLICATES = "select key from answers not indexed group by key, max_tokens having count(*) > 1"
# What a look-up can give is, of each key, the answer with the most room and the longest that is whole.
SUPERSEDED = """
select rowid from (
    select
        rowid,
        finish_reason = 'length' as cut,
        row_number() over (partition by key order by max_tokens desc) as by_room,
        row_number() over (partition by key, finish_reason = 'length' order by max_tokens desc) as among_alike
    from answers
) where by_room > 1 and (cut or among_alike > 1)
"""
OUTRANKED_FAILURES = "select rowid from failures where key in (select key from answers)"


@dataclass(frozen=True)
class Fault:
    """What is wrong, in which file, and with which answer where it is one."""

    file: Path
    what: str
    key: str | None = None

    def line(self) -> str:
        """The fault as one line."""
        return f"{self.file}: {f'{self.key}: ' if self.key else ''}{self.what}"


@dataclass(frozen=True)
class Verification:
    """What was found in one ledger.

    `unsealed` answers have no checksum, because an earlier program recorded them; `superseded` ones
    can no longer be given to a request; `torn_bytes` were being written when their writer died.
    """

    file: Path
    lang: str
    stage: str
    answers: int = 0
    failures: int = 0
    unsealed: int = 0
    superseded: int = 0
    torn_bytes: int = 0
    faults: tuple[Fault, ...] = ()


def verify_ledgers(ledger_folder: Path) -> Iterator[Verification]:
    """Verify every ledger of a home, one after the other."""
    for path in sorted(ledger_folder.glob("*/*.sqlite")):
        yield verify_ledger(path)


def verify_ledger(path: Path) -> Verification:
    """Verify one ledger; whatever is wrong with it is among the faults of the result."""
    # Before SQLite has seen it: opening may begin the log anew.
    log = examine_log(path.with_name(path.name + "-wal"))
    faults: list[Fault] = []
    if log.lost_from is not None:
        what = f"the write-ahead log is damaged at byte {log.lost_from}: answers recorded after that are lost"
        faults.append(Fault(path, what))
    found = Verification(path, path.parent.name, path.stem, torn_bytes=log.torn_bytes)
    try:
        # Read-only, so that closing does not write the log into a file that may be damaged.
        with closing(sqlite3.connect(_address(path), uri=True)) as connection:
            # Damaged text may be no text at all, and has to be told of all the same.
            connection.text_factory = _readable
            faults += _structure(path, connection)
            if not faults and _just_made(connection):
                return found
            counts = _counts(connection)
            faults += _content(path, connection)
            return Verification(**{**vars(found), **counts, "faults": tuple(faults)})
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # The latter where SQLite's own message quotes damaged bytes.
        faults.append(Fault(path, f"cannot be read ({error}): restore it from a copy"))
        return Verification(**{**vars(found), "faults": tuple(faults)})


def _address(path: Path) -> str:
    # Even to read, SQLite wants to write beside the file, unless it is told that nobody does.
    alone = "" if os.access(path.parent, os.W_OK) else "&immutable=1"
    return f"{path.resolve().as_uri()}?mode=ro{alone}"


def _readable(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _just_made(connection: sqlite3.Connection) -> bool:
    """Whether the process that made the file ended before it had made the tables; the next one makes them."""
    return not connection.execute("select 1 from sqlite_schema").fetchall()


def _structure(path: Path, connection: sqlite3.Connection) -> Iterator[Fault]:
    version = connection.execute("pragma user_version").fetchone()[0]
    if version == 0 and _just_made(connection):
        return
    if version != FORMAT_VERSION:
        yield Fault(path, f"has format {version}, this program knows {FORMAT_VERSION}")
    for (line,) in connection.execute("pragma integrity_check"):
        if line != "ok":
            yield Fault(path, f"SQLite finds: {' '.join(line.split())}")
    for table, expected in _COLUMNS.items():
        columns = {row[1] for row in connection.execute(f"pragma table_info({table})")}
        if missing := set(expected) - columns:
            yield Fault(path, f"the table {table} lacks {', '.join(sorted(missing))}")


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    queries = {
        "answers": "select count(*) from answers not indexed",
        "failures": "select count(*) from failures",
        "unsealed": f"select count(*) from answers where {_checksum(connection)} is null",
        "superseded": f"select count(*) from ({SUPERSEDED})",
    }
    return {name: int(connection.execute(query).fetchone()[0]) for name, query in queries.items()}


def _content(path: Path, connection: sqlite3.Connection) -> Iterator[Fault]:
    for key, what in connection.execute(_ODD_ROWS):
        yield Fault(path, what, str(key))
    for (key,) in connection.execute(_DUPLICATES):
        yield Fault(path, "the same answer is there more than once", str(key))
    fields = ", ".join(ANSWER_FIELDS)
    sealed = connection.execute(f"select {_checksum(connection)}, {fields} from answers not indexed")
    for checksum, *values in sealed:
        if checksum is not None and checksum != _sealed(values):
            yield Fault(path, "the answer does not match its checksum", str(values[0]))


def _checksum(connection: sqlite3.Connection) -> str:
    """The column of checksums, which the files of earlier programs do not have."""
    columns = {row[1] for row in connection.execute("pragma table_info(answers)")}
    return "checksum" if "checksum" in columns else "null"


def _sealed(values: list[object]) -> str | None:
    try:
        return seal(values)
    except TypeError:  # damage has turned a text into bytes
        return None
