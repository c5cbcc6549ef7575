"""The filters."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetSpec, MaterializeResult, multi_asset

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.assets.results import origin_of, result_of, share
from persona_assets.filters.personas import judge_personas
from persona_assets.languages import language
from persona_assets.resources.models import LanguageIdResource
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource


@multi_asset(
    specs=[
        AssetSpec(
            "filtered_personas",
            deps=["raw_personas"],
            description="Personas in the language of their seed document, of a sensible length.",
        ),
        AssetSpec(
            "rejected_personas",
            deps=["raw_personas"],
            description="Personas a filter refused: rule, measurement, threshold.",
        ),
    ],
    partitions_def=LANGUAGES,
    group_name="personas",
)
def filter_personas(
    context: AssetExecutionContext,
    settings: RunSettings,
    warehouse: WarehouseResource,
    language_id: LanguageIdResource,
) -> Iterator[MaterializeResult[None]]:
    """Apply the language and length filters of the profile."""
    profile, lang, store = settings.load(), language(context.partition_key), warehouse.open()
    raw = store.read("raw_personas", lang.code)
    verdicts = judge_personas(raw, lang, language_id.open(), profile.filters)
    tables = {"filtered_personas": verdicts.kept, "rejected_personas": verdicts.rejected}
    store.replace_partition(lang.code, tables, origin_of("filtered_personas", context, settings))
    removed = {"removed_share": share(verdicts.rejected.height, raw.height)}
    yield result_of("filtered_personas", verdicts.kept, removed)
    yield result_of("rejected_personas", verdicts.rejected)
