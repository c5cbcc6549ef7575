"""Seed documents as rows: which files an address names, and what each of them holds, read lazily."""

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import has_magic, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from persona_assets.errors import SeedError
from persona_assets.languages import Language

COLUMNS = (
    "text",
    "id",
    "url",
    "date",
    "dump",
    "language",
    "language_score",
    "language_script",
    "minhash_cluster_size",
    "license",
    "kind",
)
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json.gz")

SAMPLES_FOLDER = Path(__file__).parents[1] / "samples" / "documents"

_BATCH_ROWS = 256
# Bytes read at a time from one column, so that even a file of one huge row group is read in parts.
_READ_AHEAD = 1 << 20
# JSONL states no columns: a file whose first objects all lack `text` has another column for it.
_OBJECTS_WITHOUT_TEXT = 100
_DETAIL_CHARS = 200
_INT64 = 1 << 63
# What stands for a value that Arrow holds but Python cannot; no column is of bytes, so it is a wrong type.
_UNREADABLE = b""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class SeedRow:
    """One row as read, with its place.

    `file` is the path below the folder or glob read (the name, for a single file) and `row` counts from
    0 within it (lines of JSONL, blank ones included). `fault` is "invalid_json" for a line that is no
    JSON object, or "wrong_type" where a column holds a value of another type; such a value is None, and
    `fault_evidence` says what was found.
    """

    file: str
    row: int
    text: str | None = None
    source_id: str | None = None
    url: str | None = None
    date: str | None = None
    dump: str | None = None
    language: str | None = None
    language_score: float | None = None
    language_script: str | None = None
    minhash_cluster_size: int | None = None
    license: str | None = None
    kind: str | None = None
    fault: str | None = None
    fault_evidence: str | None = None


@dataclass(frozen=True)
class _Source:
    filesystem: Any
    path: str
    name: str
    shown: str


def documents_address(setting: str, language: Language) -> str:
    """Resolve the knob `seeds.documents` for one language, to what `open_documents` takes."""
    if setting == "samples":
        return str(SAMPLES_FOLDER / f"{language.code}.jsonl")
    if setting == "fineweb":
        return language.seeds
    # Not str.format: paths and globs may hold other braces.
    for placeholder, value in (
        ("{lang}", language.code),
        ("{iso639_3}", language.iso639_3),
        ("{script}", language.script),
    ):
        setting = setting.replace(placeholder, value)
    return setting


def open_documents(address: str, *, batch_rows: int = _BATCH_ROWS) -> Iterator[SeedRow]:
    """Read the rows of a file, a folder (searched to any depth), a glob or an fsspec URL of these.

    Files are read one after another, sorted by path, and only as far as rows are taken: Parquet row
    group by row group and about 1 MiB of a column at a time, JSONL line by line.

    Args:
        address: such as `docs/*.parquet` or `hf://datasets/owner/name/data/*.parquet`.
        batch_rows: Parquet rows decoded at a time; changes memory and speed, never the rows.

    Raises:
        SeedError: nothing to read there (raised at once); or, when a file's turn comes, no permission,
            a damaged file, no `text` column, a column of a type that cannot be used, a network fault.
    """
    return _rows(_find(address), batch_rows)


def _rows(sources: Sequence[_Source], batch_rows: int) -> Iterator[SeedRow]:
    for source in sources:
        if source.path.lower().endswith(".parquet"):
            yield from _parquet_rows(source, batch_rows)
        else:
            yield from _json_rows(source)


def _find(address: str) -> list[_Source]:
    where = _redacted(address)
    with _told_plainly(where):
        filesystem, path = url_to_fs(address)
        root, paths = _list(filesystem, path)
    sources = [
        _Source(filesystem, found, _below(root, found), _redacted(_shown(filesystem, found)))
        for found in sorted(paths)
        if found.lower().endswith(SUFFIXES)
    ]
    if not sources:
        raise SeedError(
            f"no seed documents at {where}: give a file, folder, glob or URL of {', '.join(SUFFIXES)} files"
            + _login(where)
        )
    return sources


def _list(filesystem: Any, path: str) -> tuple[str, list[str]]:
    """The folder below which files are named, and the paths found."""
    local = isinstance(filesystem, LocalFileSystem)
    if filesystem.isfile(path):
        return _parent(path), [path]
    if filesystem.isdir(path):
        # By default fsspec leaves out folders that it may not list.
        found = filesystem.find(path, **({"on_error": "raise"} if local else {}))
        return path, [file for file in found if not _hidden(_below(path, file))]
    root = _parent(path)
    while has_magic(root):
        root = _parent(root)
    if local:
        _require_access(root)
    if not has_magic(path):
        return root, []
    found = filesystem.glob(path, detail=True)
    return root, [file for file, facts in found.items() if facts["type"] != "directory"]


def _require_access(folder: str) -> None:
    """Raise PermissionError where a folder may not be listed: a glob would just find nothing there."""
    if Path(folder).is_dir():
        next(Path(folder).iterdir(), None)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _below(root: str, path: str) -> str:
    prefix = root.rstrip("/") + "/"
    return path.removeprefix(prefix) if path.startswith(prefix) else PurePosixPath(path).name


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _shown(filesystem: Any, path: str) -> str:
    return path if isinstance(filesystem, LocalFileSystem) else str(filesystem.unstrip_protocol(path))


def _parquet_rows(source: _Source, batch_rows: int) -> Iterator[SeedRow]:
    with _told_plainly(source.shown):
        handle = source.filesystem.open(source.path, "rb")
    with handle:
        with _told_plainly(source.shown):
            # Pre-buffering would fetch whole row groups and override the buffer size.
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=_READ_AHEAD)
        columns = _usable_columns(file.schema_arrow, source.shown)
        number = 0
        for batch in _pull(file.iter_batches(batch_size=batch_rows, columns=columns), source.shown):
            for cells in zip(*map(_cells, batch.columns), strict=True):
                yield _row(source, number, dict(zip(batch.schema.names, cells, strict=True)))
                number += 1


def _usable_columns(schema: Any, where: str) -> list[str]:
    if "text" not in schema.names:
        raise _no_text(where, schema.names)
    columns = [column for column in COLUMNS if column in schema.names]
    for column in columns:
        kind = schema.types[schema.names.index(column)]
        if not _fits(column, kind):
            raise SeedError(
                f"{where}: column `{column}` is of type {kind}, expected {_expected(column)}; cast it or leave it out"
            )
    return columns


def _no_text(where: str, found: Sequence[str]) -> SeedError:
    listed = ", ".join(found) or "none"
    return SeedError(f"{where} has no column `text` (found: {listed}); rename the one that holds the documents")


def _expected(column: str) -> str:
    return "a number" if column in _NUMERIC else "text"


def _fits(column: str, kind: Any) -> bool:
    kinds = pa.types
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_null(kind):
        return True
    if column in _NUMERIC:
        return bool(kinds.is_integer(kind) or kinds.is_floating(kind))
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return True
    if column == "date":
        return bool(kinds.is_date(kind) or kinds.is_timestamp(kind))
    return bool(column == "id" and kinds.is_integer(kind))


def _cells(column: Any) -> list[Any]:
    """The values of an Arrow column; dates and times as ISO 8601 text."""
    kind, zone = column.type, ""
    if pa.types.is_timestamp(kind):
        # Arrow keeps UTC when it drops the zone; keeping it would need a time zone database here.
        zone = "Z" if kind.tz else ""
        column = column.cast(pa.timestamp("us"), safe=False)
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    return [value.isoformat() + zone if isinstance(value, date) else value for value in _scalars(column)]


def _scalars(column: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_scalar(item) for item in column]


def _scalar(item: Any) -> Any:
    try:
        return item.as_py()
    except (ValueError, OverflowError):  # bytes that are not UTF-8, a year that Python cannot hold
        return _UNREADABLE


def _json_rows(source: _Source) -> Iterator[SeedRow]:
    with _told_plainly(source.shown):
        handle = source.filesystem.open(source.path, "rb", compression="infer")
    with handle:
        seen: dict[str, None] = {}
        objects = 0
        for number, line in enumerate(_pull(iter(handle), source.shown)):
            if not line.strip():
                continue
            values = _json_object(line)
            if isinstance(values, str):
                yield SeedRow(source.name, number, fault="invalid_json", fault_evidence=values)
                continue
            if objects < _OBJECTS_WITHOUT_TEXT:
                objects += 1
                seen.update(dict.fromkeys(values))
                if objects == _OBJECTS_WITHOUT_TEXT and "text" not in seen:
                    raise _no_text(source.shown, list(seen))
            yield _row(source, number, values)
        if objects and "text" not in seen:
            raise _no_text(source.shown, list(seen))


def _json_object(line: bytes) -> dict[str, Any] | str:
    """The object of a JSONL line, or what is wrong with the line."""
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return _detail(error)
    return values if isinstance(values, dict) else f"not an object but {type(values).__name__}"


def _row(source: _Source, number: int, values: Mapping[str, Any]) -> SeedRow:
    cells: dict[str, Any] = {}
    wrong: list[str] = []
    for column in COLUMNS:
        value = values.get(column)
        try:
            cells["source_id" if column == "id" else column] = _CASTS.get(column, _string)(value)
        except (TypeError, OverflowError):
            wrong.append(f"{column}: {type(value).__name__}, expected {_expected(column)}")
    return SeedRow(
        source.name,
        number,
        **cells,
        fault="wrong_type" if wrong else None,
        fault_evidence="; ".join(wrong) or None,
    )


def _string(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError


def _identifier(value: object) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(value)


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError


def _whole(value: object) -> int | None:
    # pandas turns integers with gaps into floats.
    if (number := _number(value)) is None:
        return None
    if number.is_integer() and -_INT64 <= number < _INT64:
        return value if isinstance(value, int) else int(number)
    raise TypeError


_CASTS: Mapping[str, Callable[[object], object]] = {
    "id": _identifier,
    "language_score": _number,
    "minhash_cluster_size": _whole,
}
_NUMERIC = ("language_score", "minhash_cluster_size")


def _pull(items: Iterator[_Item], where: str) -> Iterator[_Item]:
    """Pass items on, telling plainly what goes wrong while the next one is read."""
    while True:
        with _told_plainly(where):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextmanager
def _told_plainly(where: str) -> Iterator[None]:
    # The file systems behind fsspec raise the exceptions of their own HTTP clients, which share no base.
    try:
        yield
    except Exception as error:
        raise SeedError(_advice(where, error)) from error


def _advice(where: str, error: Exception) -> str:
    hub = "hf://" in where
    login = _login(where)
    detail = _detail(error)
    match error:
        case ImportError():
            wanted = "huggingface_hub: pip install 'persona-assets[hub]'" if hub else f"a package: {detail}"
            advice = f"{where} needs {wanted}"
        case PermissionError():
            advice = f"no permission to read {where}: change its mode or owner, or ask for access{login}"
        case FileNotFoundError():
            advice = f"{where} does not exist: check the address{login}"
        case EOFError() | BadGzipFile() | zlib.error():
            advice = f"{where} is damaged or cut short ({detail}): fetch it again, or move it elsewhere"
        case pa.ArrowException():
            advice = f"{where} is not a sound Parquet file ({detail}): fetch it again, or move it elsewhere"
        case OSError(errno=None) if type(error) is OSError:  # how Arrow reports a damaged page
            advice = f"{where} is damaged ({detail}): fetch it again, or move it elsewhere"
        case _:
            advice = f"cannot read {where} ({detail}): check the address, your network and your access{login}"
    return advice


def _login(where: str) -> str:
    # The hub reports a private repository as a missing one.
    return "; a private or gated repository needs `hf auth login`" if "hf://" in where else ""


def _detail(error: BaseException) -> str:
    text = _redacted(" ".join(str(error).split()))
    return (text or type(error).__name__)[:_DETAIL_CHARS]


def _redacted(text: str) -> str:
    """Leave out what URLs carry for access: a user and password, the query of a signed link."""
    text = re.sub(r"(?<=://)[^/\s@]+@", "", text)
    return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]*", r"\1", text)
