"""Asset checks: what must hold for the rows of every partition."""

from collections.abc import Sequence

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    asset_check,
)

from persona_assets.assets import previews
from persona_assets.assets.partitions import LANGUAGES
from persona_assets.report.funnel import funnel_rows, imbalances
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource
from persona_assets.sqlfiles import statement

with previews.accepted():

    @asset_check(asset="conversations", blocking=True, partitions_def=LANGUAGES)
    def counts_add_up(
        context: AssetCheckExecutionContext, settings: RunSettings, warehouse: WarehouseResource
    ) -> AssetCheckResult:
        """Every stage's input equals its output plus what was rejected or dropped there."""
        rows = funnel_rows(warehouse.open(), [context.partition_key])
        per_persona = settings.load().conversations.per_persona
        faults = [fault for row in rows for fault in imbalances(row, per_persona)]
        return AssetCheckResult(passed=bool(rows) and not faults, metadata={"faults": faults})


def rows_without_fault(asset: str, query: str) -> AssetChecksDefinition:
    """A blocking check that `sql/checks/<query>.sql` finds no row for the partition (`$lang`)."""

    @asset_check(
        asset=asset,
        name=query,
        blocking=True,
        partitions_def=LANGUAGES,
        description=statement("checks", query).splitlines()[0].removeprefix("-- "),
    )
    def check(context: AssetCheckExecutionContext, warehouse: WarehouseResource) -> AssetCheckResult:
        found = warehouse.open().query(statement("checks", query), {"lang": context.partition_key})
        examples = [str(row) for row in found.head(5).rows()]
        return AssetCheckResult(
            passed=found.is_empty(),
            severity=AssetCheckSeverity.ERROR,
            metadata={"rows": found.height, "examples": examples},
        )

    return check


CHECKS: Sequence[AssetChecksDefinition]
with previews.accepted():
    CHECKS = (
        counts_add_up,
        rows_without_fault("seed_documents", "seed_ids_are_unique"),
        rows_without_fault("raw_personas", "persona_ids_are_unique"),
        rows_without_fault("raw_personas", "parents_and_documents_exist"),
        rows_without_fault("filtered_personas", "language_scores_reach_the_threshold"),
        rows_without_fault("deduped_personas", "no_kept_pair_above_the_threshold"),
        rows_without_fault("deduped_personas", "winners_were_kept"),
        rows_without_fault("conversations", "turns_alternate"),
    )
