"""The funnel: how many rows every stage of every language took in, kept, and let go."""

from collections.abc import Sequence
from typing import Any

from persona_assets.warehouse import Warehouse

# Column of the view `funnel`, and its heading.
FUNNEL_COLUMNS = {
    "documents": "documents",
    "replies": "replies",
    "raw": "raw",
    "filtered": "filtered",
    "deduplicated": "deduplicated",
    "conversations": "conversations",
}


def funnel_rows(warehouse: Warehouse, languages: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rows of the view `funnel`, of the given languages or of all that have any."""
    rows = warehouse.query("from funnel").to_dicts()
    return [row for row in rows if languages is None or row["lang"] in languages]


def imbalances(row: dict[str, Any], conversations_per_persona: int = 1) -> list[str]:
    """Name every stage of a funnel row whose input is not its output plus what left there."""
    sums = {
        "documents": (row["documents_read"], row["documents"] + row["documents_rejected"]),
        "personas": (row["raw"], row["filtered"] + row["rejected"]),
        "deduplication": (row["filtered"], row["deduplicated"] + row["duplicates"]),
        "conversations": (
            row["deduplicated"] * conversations_per_persona,
            row["conversations"] + row["conversations_rejected"],
        ),
    }
    return [f"{stage}: {came} in, {went} out" for stage, (came, went) in sums.items() if came != went]
