"""The same persona across languages."""

from collections.abc import Iterator

import polars as pl
from dagster import AllPartitionMapping, AssetDep, AssetExecutionContext, MaterializeResult, asset

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.assets.results import OPTIONAL_TAG, origin_of, result_of
from persona_assets.dedup.twins import TWIN_SCHEMA, find_twins, is_shared
from persona_assets.resources.models import EmbedderResource
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource
from persona_assets.warehouse import Warehouse


@asset(
    # A new persona in any language may be the twin of one in this.
    deps=[AssetDep("deduped_personas", partition_mapping=AllPartitionMapping())],
    partitions_def=LANGUAGES,
    group_name="personas",
    tags={OPTIONAL_TAG: "true"},
)
def crosslingual_twins(
    context: AssetExecutionContext,
    settings: RunSettings,
    warehouse: WarehouseResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """Kept personas of this language that mean the same as one of another; tagged, never dropped.

    Made on request, after all languages: `persona-assets run --select crosslingual_twins`.
    """
    lang, store, threshold = context.partition_key, warehouse.open(), settings.load().dedup.twin_cosine
    model = embedder.open(lang)
    personas = _kept(store, lang)
    twins = pl.DataFrame(schema=TWIN_SCHEMA)
    facts = {"embedder": model.name, "threshold": threshold}
    if is_shared(model):
        codes = [code for code in LANGUAGES.get_partition_keys() if code != lang]
        twins = find_twins(personas, _each(store, codes), model, threshold=threshold)
    else:
        facts["nothing_recorded"] = "the lexical embedder compares letters, not meaning; set dedup.embedder to labse"
    store.replace_partition(lang, {"crosslingual_twins": twins}, origin_of("crosslingual_twins", context, settings))
    facts |= {"personas": personas.height, "personas_with_twins": twins["persona_id"].n_unique()}
    return result_of("crosslingual_twins", twins, facts)


def _each(store: Warehouse, codes: list[str]) -> Iterator[pl.DataFrame]:
    for code in codes:
        yield _kept(store, code)


def _kept(store: Warehouse, lang: str) -> pl.DataFrame:
    return store.read("deduped_personas", lang).select("lang", "persona_id", "persona")
