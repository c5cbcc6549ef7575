"""Conversations."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetSpec, MaterializeResult, multi_asset

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.assets.results import origin_of, result_of, share
from persona_assets.generation.dialogues import generate_conversations
from persona_assets.generation.packs import PACKS_FOLDER, load_pack
from persona_assets.languages import language
from persona_assets.llm.usage import usage_facts
from persona_assets.resources.models import LanguageIdResource, LanguageModelResource
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource


@multi_asset(
    specs=[
        AssetSpec(
            "conversations",
            deps=["deduped_personas", "seed_documents", "prompt_packs"],
            description="Persona-driven conversations in the mPersonas row format.",
        ),
        AssetSpec(
            "rejected_conversations",
            deps=["deduped_personas", "seed_documents", "prompt_packs"],
            description="Conversations a rule refused, with the evidence.",
        ),
    ],
    partitions_def=LANGUAGES,
    group_name="conversations",
    pool="llm",
)
def ask_for_conversations(
    context: AssetExecutionContext,
    settings: RunSettings,
    warehouse: WarehouseResource,
    llm: LanguageModelResource,
    language_id: LanguageIdResource,
) -> Iterator[MaterializeResult[None]]:
    """Ask the model for the conversations each kept persona would have, and judge them."""
    profile, lang, store, model = (
        settings.load(),
        language(context.partition_key),
        warehouse.open(),
        llm.open(),
    )
    harvest = generate_conversations(
        store.read("deduped_personas", lang.code),
        store.read("seed_documents", lang.code),
        pack=load_pack(lang.code, profile.packs_folder(PACKS_FOLDER)),
        language=lang,
        identifier=language_id.open(),
        profile=profile,
        ask=model.ask,
    )
    tables = {
        "conversations": harvest.conversations,
        "rejected_conversations": harvest.rejected,
        "conversation_answers": harvest.answers,
    }
    store.replace_partition(lang.code, tables, origin_of("conversations", context, settings))
    asked = harvest.conversations.height + harvest.rejected.height
    facts = {"removed_share": share(harvest.rejected.height, asked)}
    yield result_of(
        "conversations",
        harvest.conversations,
        {**facts, **usage_facts(model.tallies, harvest.answers, harvest.rejected["reason"])},
    )
    yield result_of("rejected_conversations", harvest.rejected)
