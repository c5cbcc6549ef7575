"""Makes a ledger smaller, without changing what any request gets from it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from persona_assets.errors import LedgerError, StorageError, explain
from persona_assets.llm.ledger import Ledger, open_ledger
from persona_assets.llm.requests import ANSWER_FIELDS
from persona_assets.llm.sealing import seal
from persona_assets.llm.verification import OUTRANKED_FAILURES, SUPERSEDED, verify_ledger

SEALING_CHUNK = 2_000


@dataclass(frozen=True)
class Compaction:
    """What was dropped from one ledger, how many answers got a checksum, and its size on disk in bytes."""

    file: Path
    superseded: int
    outranked_failures: int
    sealed: int
    bytes_before: int
    bytes_after: int


def compact_ledger(ledger_folder: Path, stage: str, lang: str) -> Compaction:
    """Drop what no request can be given any more, and give the space back to the disk.

    Dropped are answers that a longer one of the same key has superseded, and failures of requests that
    have since been answered. Answers that an earlier program recorded get their checksum. As much
    free space as the ledger has is needed meanwhile.

    Raises:
        LedgerError: a run uses the ledger, or it does not verify; then nothing is changed.
        StorageError: the disk is full or read-only; then nothing is lost.
    """
    with open_ledger(ledger_folder, stage, lang, wait_s=0.0) as ledger:
        if faults := verify_ledger(ledger.path).faults:
            raise LedgerError(f"not compacted, since it does not verify: {faults[0].line()}")
        before = _size(ledger.path)
        try:
            sealed = _seal(ledger)
            superseded = ledger.sql(f"delete from answers where rowid in ({SUPERSEDED})").rowcount
            outranked = ledger.sql(f"delete from failures where rowid in ({OUTRANKED_FAILURES})").rowcount
            ledger.sql("vacuum")
            ledger.sql("pragma wal_checkpoint(truncate)")
        except sqlite3.OperationalError as error:
            raise explain(error) or StorageError(f"{ledger.path} cannot be compacted: {error}") from error
        return Compaction(ledger.path, superseded, outranked, sealed, before, _size(ledger.path))


def _seal(ledger: Ledger) -> int:
    count = 0
    unsealed = f"select rowid, {', '.join(ANSWER_FIELDS)} from answers where checksum is null limit {SEALING_CHUNK}"
    while rows := ledger.sql(unsealed).fetchall():
        ledger.sql("begin")
        for rowid, *values in rows:
            ledger.sql("update answers set checksum = ? where rowid = ?", seal(values), rowid)
        ledger.sql("commit")
        count += len(rows)
    return count


def _size(path: Path) -> int:
    parts = (path, path.with_name(path.name + "-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())
