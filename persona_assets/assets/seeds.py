"""Seed documents, and the prompt packs they will be asked about with."""

from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetSpec,
    DataVersion,
    DataVersionsByPartition,
    MaterializeResult,
    multi_asset,
    observable_source_asset,
)

from persona_assets.assets import previews
from persona_assets.assets.partitions import LANGUAGES
from persona_assets.assets.results import origin_of, result_of, share
from persona_assets.errors import PromptPackError
from persona_assets.generation.packs import PACKS_FOLDER, load_pack
from persona_assets.languages import language, languages
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource
from persona_assets.seeds.reading import documents_address, open_documents
from persona_assets.seeds.selection import select_documents

with previews.accepted():

    @observable_source_asset(partitions_def=LANGUAGES, group_name="seeds")
    def prompt_packs(settings: RunSettings) -> DataVersionsByPartition:
        """What a model reads in each language; editing one language's pack changes that partition only."""
        folder = settings.load().packs_folder(PACKS_FOLDER)
        versions: dict[str, str | DataVersion] = {}
        for code in languages():
            try:
                versions[code] = load_pack(code, folder).version
            except PromptPackError:
                continue
        return DataVersionsByPartition(versions)


@multi_asset(
    specs=[
        AssetSpec("seed_documents", description="Web documents taken as seeds, with the evidence for it."),
        AssetSpec("rejected_documents", description="Documents read and not taken, each with the rule."),
    ],
    partitions_def=LANGUAGES,
    group_name="seeds",
)
def select_seeds(
    context: AssetExecutionContext, settings: RunSettings, warehouse: WarehouseResource
) -> Iterator[MaterializeResult[None]]:
    """Read documents of the profile's source until enough are taken."""
    profile, lang = settings.load(), language(context.partition_key)
    rows = open_documents(documents_address(profile.seeds.documents, lang))
    selection = select_documents(rows, lang, profile.seeds)
    tables = {"seed_documents": selection.documents, "rejected_documents": selection.rejected}
    warehouse.open().replace_partition(lang.code, tables, origin_of("seed_documents", context, settings))
    taken = {
        "scanned": selection.scanned,
        "taken_share": share(selection.documents.height, selection.scanned),
    }
    yield result_of("seed_documents", selection.documents, taken)
    yield result_of("rejected_documents", selection.rejected)
