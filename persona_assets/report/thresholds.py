"""Survivors against threshold of both deduplication stages of a language, from the stored edges."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from persona_assets.dedup import minhash
from persona_assets.dedup.evidence import edges_between, stored_evidence
from persona_assets.dedup.keep import keep
from persona_assets.dedup.priority import priority
from persona_assets.dedup.recut import Cut, grid_between, survivors
from persona_assets.errors import WarehouseError
from persona_assets.warehouse import Warehouse

# The knobs that set the thresholds, in the order of the stages.
KNOBS = {"minhash": "dedup.jaccard", "embedding": "dedup.cosine"}


@dataclass(frozen=True)
class Stage:
    """One stage, cut at a grid of thresholds.

    Attributes:
        method: `minhash` or `embedding`.
        knob: The setting of its threshold.
        current: The threshold in force.
        floor: Below it, no edge is stored.
        personas: How many come in.
        cuts: By ascending threshold; the second stage takes in what the first keeps at its current one.
        recall: By threshold, the probability that a pair exactly at it was found.
    """

    method: str
    knob: str
    current: float
    floor: float
    personas: int
    cuts: list[Cut]
    recall: list[float]

    def rows(self) -> list[dict[str, Any]]:
        """The cuts as mappings, with `recall` and whether each is `current`."""
        return [
            {**asdict(cut), "recall": round(recall, 4), "current": cut.threshold == self.current}
            for cut, recall in zip(self.cuts, self.recall, strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        named = {name: getattr(self, name) for name in ("method", "knob", "current", "floor", "personas")}
        return {**named, "cuts": self.rows()}


def stages(store: Warehouse, lang: str, *, step: float) -> list[Stage]:
    """Cut the stored edges of a language anew; computes no similarity.

    Args:
        store: Where the edges are.
        lang: ISO 639-1 code.
        step: Distance between thresholds.

    Raises:
        WarehouseError: the language has not been deduplicated, or its personas have changed since.
    """
    filtered, stored = store.read("filtered_personas", lang), stored_evidence(store, lang)
    again = f"persona-assets run --languages {lang} --select deduped_personas"
    if stored.methods.is_empty():
        raise WarehouseError(f"{lang} has no stored edges yet: {again}")
    if set(filtered["persona_id"]) != stored.ids:
        raise WarehouseError(f"the filtered personas of {lang} have changed since they were compared: {again}")
    taking_part = priority(filtered)
    found: list[Stage] = []
    for method, knob in KNOBS.items():
        facts = stored.methods.filter(pl.col("method") == method).row(0, named=True)
        edges = edges_between(stored.edges, method, filtered["persona_id"])
        grid = grid_between(facts["floor"], step, facts["threshold"])
        found.append(
            Stage(
                method,
                knob,
                facts["threshold"],
                facts["floor"],
                len(taking_part),
                survivors(taking_part, edges, grid),
                [_recall(facts, threshold) for threshold in grid],
            )
        )
        taking_part = taking_part[keep(taking_part, edges, facts["threshold"]).kept[taking_part]]
    return found


def _recall(facts: dict[str, Any], threshold: float) -> float:
    if facts["bands"] is None:
        return float(facts["recall"])
    return minhash.collision(threshold, facts["bands"], facts["band_rows"], facts["permutations"])
