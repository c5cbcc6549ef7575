"""Near-duplicate removal of one language: MinHash first, then embeddings, as on the mPersonas card.

Both stages compare all filtered personas, so that their edges can be cut anew at another threshold;
the second stage then decides among what the first one kept.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from persona_assets.dedup.embedders import Embedder
from persona_assets.dedup.evidence import (
    NOTHING,
    Stored,
    edge_rows,
    embedding_evidence,
    evidence_rows,
    shingle_evidence,
)
from persona_assets.dedup.keep import Kept, keep
from persona_assets.dedup.priority import priority
from persona_assets.languages import Language
from persona_assets.settings import DedupSettings

DUPLICATE_SCHEMA = {
    "lang": pl.String,
    "loser_id": pl.String,
    "winner_id": pl.String,
    "method": pl.String,
    "similarity": pl.Float64,
    "threshold": pl.Float64,
}


@dataclass(frozen=True)
class Deduplicated:
    """Every filtered persona, once: in `kept`, or in `duplicates` with the persona kept in its place.

    Attributes:
        kept: The filtered personas that stay.
        duplicates: Rows of `duplicate_personas`.
        edges: Similar pairs of both methods down to their floors, as in `persona_edges`.
        evidence: What the edges belong to, as in `dedup_evidence`.
        lsh_recall: Probability that a pair exactly at the Jaccard threshold was found.
        sources: By method, whether its edges were computed, taken from an earlier run, or extended.
    """

    kept: pl.DataFrame
    duplicates: pl.DataFrame
    edges: pl.DataFrame
    evidence: pl.DataFrame
    lsh_recall: float
    sources: dict[str, str]


def deduplicate(
    filtered: pl.DataFrame,
    language: Language,
    embedder: Embedder,
    settings: DedupSettings,
    stored: Stored = NOTHING,
) -> Deduplicated:
    """Remove near-duplicates among filtered personas (columns `persona_id`, `persona`, `hop`, `language_score`).

    With what an earlier run `stored`, the result is the same and only what is new is computed.
    """
    shingled = shingle_evidence(filtered, language, settings, stored)
    embedded = embedding_evidence(filtered, embedder, settings, stored)
    order = priority(filtered)
    first = keep(order, shingled.edges, settings.jaccard)
    survivors = order[first.kept[order]]
    second = keep(survivors, embedded.edges, settings.cosine)
    ids = filtered["persona_id"]
    return Deduplicated(
        kept=filtered[np.sort(survivors[second.kept[survivors]])],
        duplicates=pl.concat(
            [
                _losers(first, ids.to_list(), language, "minhash", settings.jaccard),
                _losers(second, ids.to_list(), language, "embedding", settings.cosine),
            ]
        ),
        edges=pl.concat([edge_rows(found, ids, language.code) for found in (shingled, embedded)]),
        evidence=evidence_rows(
            [shingled, embedded], language.code, personas=filtered.height, permutations=settings.permutations
        ),
        lsh_recall=shingled.recall,
        sources={found.method: found.source for found in (shingled, embedded)},
    )


def _losers(fates: Kept, ids: list[str], language: Language, method: str, threshold: float) -> pl.DataFrame:
    losers = np.flatnonzero(fates.winner >= 0)
    return pl.DataFrame(
        {
            "lang": [language.code] * len(losers),
            "loser_id": [ids[row] for row in losers],
            "winner_id": [ids[row] for row in fates.winner[losers]],
            "method": [method] * len(losers),
            "similarity": fates.similarity[losers],
            "threshold": [threshold] * len(losers),
        },
        schema=DUPLICATE_SCHEMA,
    )
