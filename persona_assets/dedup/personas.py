"""Near-duplicate removal of one language: MinHash first, then embeddings, as on the mPersonas card.

Both stages compare all filtered personas, so that their edges can be cut anew at another threshold;
the second stage then decides among what the first one kept.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from persona_assets.dedup import embeddings, minhash
from persona_assets.dedup.edges import Edges
from persona_assets.dedup.embedders import Embedder
from persona_assets.dedup.keep import Kept, keep
from persona_assets.dedup.settled import keep_one
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
EDGE_SCHEMA = {
    "lang": pl.String,
    "method": pl.String,
    "persona_a": pl.String,
    "persona_b": pl.String,
    "similarity": pl.Float64,
}
# Similarities are stored to this many digits: float32 products differ in the last ones between machines.
DIGITS = 5


@dataclass(frozen=True)
class Deduplicated:
    """Every filtered persona, once: in `kept`, or in `duplicates` with the persona kept in its place.

    `edges` holds the similar pairs of both methods down to their floors; `lsh_recall` is the
    probability that a pair exactly at the Jaccard threshold was found.
    """

    kept: pl.DataFrame
    duplicates: pl.DataFrame
    edges: pl.DataFrame
    lsh_recall: float


def deduplicate(
    filtered: pl.DataFrame, language: Language, embedder: Embedder, settings: DedupSettings
) -> Deduplicated:
    """Remove near-duplicates among filtered personas (columns `persona_id`, `persona`, `hop`, `language_score`)."""
    order = priority(filtered)
    # Best first, which settles boilerplate soonest.
    ranked = filtered[order]
    texts = ranked["persona"].to_list()
    shingled = minhash.similar_pairs(
        texts,
        language.shingles,
        threshold=settings.jaccard,
        floor=settings.jaccard_floor,
        permutations=settings.permutations,
        recall=settings.recall,
    )
    embedded = _rounded(embeddings.similar_pairs(embedder.encode(texts), floor=settings.cosine_floor))
    settled = keep_one(np.arange(len(ranked)), shingled, settings.jaccard)
    first = settled.fates
    survivors = np.flatnonzero(first.kept)
    second = keep(survivors, embedded, settings.cosine)
    ids = ranked["persona_id"].to_list()
    return Deduplicated(
        kept=filtered[np.sort(order[survivors[second.kept[survivors]]])],
        duplicates=pl.concat(
            [
                _losers(first, ids, language, "minhash", settings.jaccard),
                _losers(second, ids, language, "embedding", settings.cosine),
            ]
        ),
        edges=pl.concat(
            [
                _edge_rows(settled.edges, ids, language, "minhash"),
                _edge_rows(embedded, ids, language, "embedding"),
            ]
        ),
        lsh_recall=shingled.plan.recall,
    )


def priority(filtered: pl.DataFrame) -> NDArray[np.int64]:
    """Order row indices by who stays first: near to a document, sure of its language, then by id."""
    order = (
        filtered.with_row_index("index")
        .sort(
            pl.col("hop"),
            -pl.col("language_score").round(3),
            pl.col("persona_id"),
        )["index"]
        .to_numpy()
    )
    return order.astype(np.int64)


def _rounded(edges: Edges) -> Edges:
    return Edges(edges.left, edges.right, np.round(edges.similarity, DIGITS))


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


def _edge_rows(edges: Edges, ids: list[str], language: Language, method: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "lang": [language.code] * len(edges),
            "method": [method] * len(edges),
            "persona_a": [ids[row] for row in edges.left],
            "persona_b": [ids[row] for row in edges.right],
            "similarity": edges.similarity,
        },
        schema=EDGE_SCHEMA,
    )
