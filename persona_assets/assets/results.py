"""What every asset reports: data version, row count, columns, and a sample that can be looked at."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from dagster import (
    AssetExecutionContext,
    DataVersion,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableSchema,
)

from persona_assets.identity import digest
from persona_assets.resources.run_settings import RunSettings
from persona_assets.warehouse import Origin

# Marks assets that are not part of a run unless they are named.
OPTIONAL_TAG = "persona_assets/optional"
SAMPLE_ROWS = 5
CELL_CHARS = 120


def result_of(asset: str, frame: pl.DataFrame, facts: Mapping[str, Any] | None = None) -> MaterializeResult[None]:
    """Describe a materialized table: an equal frame gives an equal data version."""
    return MaterializeResult(
        asset_key=asset,
        data_version=DataVersion(digest(frame.write_ndjson())),
        metadata={
            "dagster/row_count": frame.height,
            "dagster/table_name": f"main.{asset}",
            "dagster/column_schema": TableSchema(
                [TableColumn(name, str(kind).lower()) for name, kind in frame.schema.items()]
            ),
            "sample": sample_table(frame),
            **(facts or {}),
        },
    )


def share(part: int, whole: int) -> float:
    """A share as a number that the web UI can plot; 0 where there is nothing to share."""
    return round(part / whole, 4) if whole else 0.0


def sample_table(frame: pl.DataFrame) -> MarkdownMetadataValue:
    """The first rows as a Markdown table, with everything in the cells escaped."""
    columns = [name for name in frame.columns if name != "lang"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    rows = frame.head(SAMPLE_ROWS).select(columns).iter_rows()
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    text = " ".join(str("" if value is None else value).split())
    short = text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"
    for character in "\\|`*_<>[]":
        short = short.replace(character, "\\" + character)
    return short


def origin_of(asset: str, context: AssetExecutionContext, settings: RunSettings) -> Origin:
    """What is stored with every materialization: the run and the effective profile."""
    profile = settings.load()
    return Origin(asset, context.run.run_id, profile.name, profile.model_dump_json())
