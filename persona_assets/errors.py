"""The failures a user can act on, each with one line that says what to do."""

import errno
import sqlite3
from collections.abc import Iterator


class PersonaAssetsError(Exception):
    """A failure with a cause the user can mend; its text is one line that says how."""


class ProfileError(PersonaAssetsError):
    """A profile that cannot be used: unknown name, unknown or mistyped setting."""


class LanguageError(PersonaAssetsError):
    """A language that `languages.toml` does not list."""


class SeedError(PersonaAssetsError):
    """Seed documents that cannot be read."""


class PromptPackError(PersonaAssetsError):
    """A prompt pack that is missing, incomplete, or uses an unknown placeholder."""


class ModelMissingError(PersonaAssetsError):
    """A language identification or embedding model that is not on this machine."""


class LedgerError(PersonaAssetsError):
    """A ledger that cannot be used: held by another process, damaged, or refused at import."""


class ReplayMissError(PersonaAssetsError):
    """Requests that the ledger holds no answer for, under an engine that may not ask."""


class EndpointError(PersonaAssetsError):
    """A fault of the model endpoint that no retry can mend: wrong key, unknown model, no JSON mode."""


class WarehouseError(PersonaAssetsError):
    """The DuckDB file cannot be opened: held by another process, damaged, or not a database."""


class StorageError(PersonaAssetsError):
    """The disk is full, read-only, or out of reach."""


class TooManyFailuresError(PersonaAssetsError):
    """More requests failed than the profile tolerates."""


class BudgetReachedError(PersonaAssetsError):
    """The run has spent what its profile allows; `whole_run` is False for a limit of one language."""

    def __init__(self, message: str, *, whole_run: bool = True) -> None:
        super().__init__(message)
        self.whole_run = whole_run


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what caused it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def explain(error: BaseException) -> PersonaAssetsError | None:
    """Find the failure a user can act on behind `error`, or None where there is none.

    Libraries wrap what went wrong (Dagster in an execution error, SQLAlchemy in an operational
    error, DuckDB in an IO error), so the whole chain of causes is searched.
    """
    for link in chain(error):
        if isinstance(link, PersonaAssetsError):
            return link
    for link in chain(error):
        if storage := _storage_fault(link):
            return storage
    return None


_FULL = "the disk is full: free some space and run the same command again; answers already received are kept"
_READ_ONLY = "the disk or folder is read-only: choose a writable one with --home"
_DENIED = "no permission to write: choose another folder with --home or change its owner"


def _storage_fault(error: BaseException) -> StorageError | None:
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageError(_FULL + where)
        if error.errno == errno.EROFS:
            return StorageError(_READ_ONLY + where)
        if error.errno in (errno.EACCES, errno.EPERM):
            return StorageError(_DENIED + where)
    text = str(error).lower()
    if isinstance(error, sqlite3.OperationalError):
        # SQLite says "disk I/O error" when the disk has no room for the index of its write-ahead log.
        if "full" in text or "disk i/o error" in text:
            return StorageError(_FULL)
        if "readonly" in text or "unable to open" in text:
            return StorageError(_READ_ONLY)
    # DuckDB and pyarrow carry the operating system's message only as text.
    if "no space left on device" in text:
        return StorageError(_FULL)
    if "read-only file system" in text:
        return StorageError(_READ_ONLY)
    return None
