"""Personas from documents, and from personas."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetSpec, MaterializeResult, multi_asset

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.assets.results import origin_of, result_of, share
from persona_assets.generation.harvest import generate_personas
from persona_assets.generation.packs import PACKS_FOLDER, load_pack
from persona_assets.languages import language
from persona_assets.llm.usage import usage_facts
from persona_assets.resources.models import LanguageIdResource, LanguageModelResource
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource


@multi_asset(
    specs=[
        AssetSpec(
            "raw_personas",
            deps=["seed_documents", "prompt_packs"],
            description="Every persona found in a reply: from documents (hop 0), then from personas.",
        ),
        AssetSpec(
            "rejected_replies",
            deps=["seed_documents", "prompt_packs"],
            description="Replies that gave no persona, and requests that got none, with the reason.",
        ),
    ],
    partitions_def=LANGUAGES,
    group_name="personas",
    pool="llm",
)
def ask_for_personas(
    context: AssetExecutionContext,
    settings: RunSettings,
    warehouse: WarehouseResource,
    llm: LanguageModelResource,
    language_id: LanguageIdResource,
) -> Iterator[MaterializeResult[None]]:
    """Ask the model who is likely to read, write, like or dislike each document, and who is near them."""
    profile, lang, store, model = (
        settings.load(),
        language(context.partition_key),
        warehouse.open(),
        llm.open(),
    )
    harvest = generate_personas(
        store.read("seed_documents", lang.code),
        pack=load_pack(lang.code, profile.packs_folder(PACKS_FOLDER)),
        language=lang,
        identifier=language_id.open(),
        profile=profile,
        ask=model.ask,
    )
    tables = {
        "raw_personas": harvest.personas,
        "rejected_replies": harvest.rejected,
        "persona_answers": harvest.answers,
    }
    store.replace_partition(lang.code, tables, origin_of("raw_personas", context, settings))
    facts = {"requests": harvest.requests, "reply_yield": share(harvest.personas.height, harvest.requests)}
    yield result_of(
        "raw_personas",
        harvest.personas,
        {**facts, **usage_facts(model.tallies, harvest.answers, harvest.rejected["reason"])},
    )
    yield result_of("rejected_replies", harvest.rejected)
