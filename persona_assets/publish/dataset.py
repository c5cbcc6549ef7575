"""The dataset for others: Parquet per language, and a card that `datasets.load_dataset` understands.

Layout: `<folder>/<lang>/conversations.parquet` with the columns of mPersonas, `<folder>/<lang>/personas.parquet`
with every kept persona, and `<folder>/README.md`. The same rows give the same bytes.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from persona_assets.identity import digest
from persona_assets.warehouse import Warehouse

# The row of the mPersonas dataset card, in its order.
CONVERSATION_COLUMNS = (
    "id",
    "persona",
    "parent_persona_id",
    "prompt",
    "messages",
    "lang",
    "type",
    "theme",
    "source_text",
)
PERSONA_COLUMNS = (
    "persona_id",
    "persona",
    "lang",
    "method",
    "relation",
    "relation_label",
    "detail",
    "hop",
    "parent_persona_id",
    "root_persona_id",
    "doc_id",
    "source_url",
    "source_license",
)


@dataclass(frozen=True)
class Exported:
    """The files of one language, their numbers of rows, and a hash over their bytes."""

    conversations: Path
    personas: Path
    conversation_rows: int
    persona_rows: int
    version: str


def export_language(warehouse: Warehouse, lang: str, folder: Path) -> Exported:
    """Write the Parquet files of one language, each complete or not at all.

    Raises:
        WarehouseError: nothing has been materialized yet.
        StorageError: the disk is full or read-only.
    """
    conversations = warehouse.read("conversations", lang).select(CONVERSATION_COLUMNS)
    documents = warehouse.read("seed_documents", lang).select(
        "doc_id", pl.col("url").alias("source_url"), pl.col("license").alias("source_license")
    )
    personas = (
        warehouse.read("deduped_personas", lang)
        .join(documents, on="doc_id", how="left", maintain_order="left")
        .select(PERSONA_COLUMNS)
    )
    paths = folder / lang / "conversations.parquet", folder / lang / "personas.parquet"
    contents = [_write(frame, path) for frame, path in zip((conversations, personas), paths, strict=True)]
    return Exported(*paths, conversations.height, personas.height, digest(*contents))


def exported_languages(folder: Path) -> list[str]:
    """Languages that have been exported to `folder`."""
    return sorted(path.parent.name for path in folder.glob("*/conversations.parquet"))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(frame: pl.DataFrame, path: Path) -> str:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    content = buffer.getvalue()
    write_atomically(path, content)
    return hashlib.blake2b(content, digest_size=16).hexdigest()
