"""The same persona in several languages, found by an embedder that all of them share (LaBSE).

Feng et al., "Language-agnostic BERT Sentence Embedding" (2020): translations lie close together.
"""

from collections.abc import Iterable

import polars as pl

from persona_assets.dedup.embedders import Embedder, LexicalEmbedder
from persona_assets.dedup.evidence import DIGITS
from persona_assets.dedup.products import pairs_between

TWIN_SCHEMA = {
    "lang": pl.String,
    "persona_id": pl.String,
    "twin_lang": pl.String,
    "twin_id": pl.String,
    "cosine": pl.Float64,
    "threshold": pl.Float64,
    "embedder": pl.String,
}


def is_shared(embedder: Embedder) -> bool:
    """Whether an embedder compares meaning across languages; the lexical one compares letters."""
    return embedder.name != LexicalEmbedder.name


def find_twins(
    personas: pl.DataFrame, others: Iterable[pl.DataFrame], embedder: Embedder, *, threshold: float
) -> pl.DataFrame:
    """Find the twins that personas of one language have in others, as rows of `crosslingual_twins`.

    Exact: all pairs are compared, one other language at a time. Best twins first for each persona.

    Args:
        personas: Of one language (columns `lang`, `persona_id`, `persona`).
        others: The same of one other language each; frames without rows are passed over.
        embedder: Shared by the languages (see `is_shared`).
        threshold: Least cosine of twins.
    """
    found = [pl.DataFrame(schema=TWIN_SCHEMA)]
    if personas.is_empty():
        return found[0]
    vectors = embedder.encode(personas["persona"].to_list())
    for other in others:
        if other.is_empty():
            continue
        left, right, cosine = pairs_between(vectors, embedder.encode(other["persona"].to_list()), floor=threshold)
        found.append(
            pl.DataFrame(
                {
                    "persona_id": personas["persona_id"][left],
                    "twin_lang": other["lang"][right],
                    "twin_id": other["persona_id"][right],
                    "cosine": cosine.clip(max=1.0).round(DIGITS),
                }
            ).select(
                lang=pl.lit(personas["lang"][0]),
                persona_id="persona_id",
                twin_lang="twin_lang",
                twin_id="twin_id",
                cosine="cosine",
                threshold=pl.lit(threshold),
                embedder=pl.lit(embedder.name),
            )
        )
    return pl.concat(found).sort("persona_id", -pl.col("cosine"), "twin_lang", "twin_id")
