"""Near-duplicate removal."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetSpec, MaterializeResult, multi_asset

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.assets.results import origin_of, result_of, share
from persona_assets.dedup.evidence import stored_evidence
from persona_assets.dedup.personas import deduplicate
from persona_assets.languages import language
from persona_assets.resources.models import EmbedderResource
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource


@multi_asset(
    specs=[
        AssetSpec(
            "deduped_personas",
            deps=["filtered_personas"],
            description="Personas kept after MinHash and embedding deduplication.",
        ),
        AssetSpec(
            "duplicate_personas",
            deps=["filtered_personas"],
            description="Near-duplicates, each with the persona kept in its place and the similarity.",
        ),
    ],
    partitions_def=LANGUAGES,
    group_name="personas",
)
def deduplicate_personas(
    context: AssetExecutionContext,
    settings: RunSettings,
    warehouse: WarehouseResource,
    embedder: EmbedderResource,
) -> Iterator[MaterializeResult[None]]:
    """Drop a persona only where a kept one is its near-duplicate.

    What an earlier run found out about the same personas is not computed again (see dedup.evidence).
    """
    profile, lang, store = settings.load(), language(context.partition_key), warehouse.open()
    filtered = store.read("filtered_personas", lang.code)
    stored = stored_evidence(store, lang.code)
    outcome = deduplicate(filtered, lang, embedder.open(lang.code), profile.dedup, stored)
    tables = {
        "deduped_personas": outcome.kept,
        "duplicate_personas": outcome.duplicates,
        "persona_edges": outcome.edges,
        "dedup_evidence": outcome.evidence,
    }
    store.replace_partition(lang.code, tables, origin_of("deduped_personas", context, settings))
    facts = {
        "removed_share": share(outcome.duplicates.height, filtered.height),
        "lsh_recall_at_threshold": outcome.lsh_recall,
        "edges": outcome.edges.height,
        **{f"{method}_edges": source for method, source in outcome.sources.items()},
    }
    yield result_of("deduped_personas", outcome.kept, facts)
    yield result_of("duplicate_personas", outcome.duplicates)
