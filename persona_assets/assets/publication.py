"""The exported dataset."""

from dagster import AssetExecutionContext, DataVersion, MaterializeResult, MetadataValue, asset

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.publish.card import write_card
from persona_assets.publish.dataset import export_language
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource


@asset(
    deps=["conversations", "deduped_personas", "seed_documents"],
    partitions_def=LANGUAGES,
    group_name="publication",
)
def dataset(
    context: AssetExecutionContext, settings: RunSettings, warehouse: WarehouseResource
) -> MaterializeResult[None]:
    """Parquet files of this language and the dataset card of all, ready for `datasets.load_dataset`."""
    store, folder = warehouse.open(), settings.at().dataset
    exported = export_language(store, context.partition_key, folder)
    card = write_card(store, folder, settings.load())
    return MaterializeResult(
        data_version=DataVersion(exported.version),
        metadata={
            "dagster/row_count": exported.conversation_rows,
            "personas": exported.persona_rows,
            "conversations_file": MetadataValue.path(exported.conversations),
            "personas_file": MetadataValue.path(exported.personas),
            "card": MetadataValue.path(card),
        },
    )
