"""How many seed documents a run would take of a source, and those among them that can be had for little."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import polars as pl

from persona_assets.languages import Language
from persona_assets.ranges import Range
from persona_assets.seeds.reading import SeedRow, documents_address, open_documents
from persona_assets.seeds.selection import select_documents
from persona_assets.settings import SeedSettings

# Files on this machine are read as far as a run would, within reason; elsewhere a sample has to do.
_LOCAL_ROWS = 100_000
_REMOTE_ROWS, _REMOTE_DOCUMENTS = 1_000, 100


@dataclass(frozen=True)
class Census:
    """The documents taken, in DOCUMENT_SCHEMA and in the order of a run, and how many a run would take.

    `documents` are all of them where their number is known. `remark` says what is not as the settings
    wish, or is assumed; it is empty otherwise.
    """

    documents: pl.DataFrame
    number: Range
    remark: str


class _Counted:
    """Passes rows on, up to a limit, and remembers whether the source ended before."""

    def __init__(self, rows: Iterator[SeedRow], limit: int) -> None:
        self._rows = rows
        self._limit = limit
        self.seen = 0
        self.ended = False

    def __iter__(self) -> Iterator[SeedRow]:
        for row in islice(self._rows, self._limit):
            self.seen += 1
            yield row
        self.ended = self.seen < self._limit or next(self._rows, None) is None


def take_census(settings: SeedSettings, language: Language) -> Census:
    """Select documents as a run would, reading no more than is cheap.

    Raises:
        SeedError: the documents cannot be read.
    """
    address = documents_address(settings.documents, language)
    local = "://" not in address or address.startswith("file://")
    rows = _Counted(open_documents(address), _LOCAL_ROWS if local else _REMOTE_ROWS)
    limit = settings.limit if local else min(settings.limit, _REMOTE_DOCUMENTS)
    documents = select_documents(rows, language, settings.model_copy(update={"limit": limit})).documents
    taken = documents.height
    if taken == settings.limit:
        return Census(documents, Range.exactly(taken), "")
    if rows.ended:
        remark = f"only {taken} of {settings.limit} documents: the source has no more that pass"
        return Census(documents, Range.exactly(taken), remark)
    remark = f"assumed that the source has {settings.limit} documents; {taken} of the first {rows.seen} rows were taken"
    return Census(documents, Range(taken, settings.limit, settings.limit), remark)
