"""How alike the filtered personas of a language are: computed, or taken from what an earlier run stored.

Stored edges serve another threshold as long as they belong to the same personas and settings and reach
down far enough; where personas were added, only pairs with a new one are looked for.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from persona_assets.dedup import embeddings, incremental, minhash
from persona_assets.dedup.edges import Edges
from persona_assets.dedup.embedders import Embedder
from persona_assets.dedup.minhash import BandPlan
from persona_assets.dedup.priority import priority
from persona_assets.dedup.settled import keep_one
from persona_assets.identity import digest
from persona_assets.languages import Language
from persona_assets.settings import DedupSettings
from persona_assets.warehouse import Warehouse

# Similarities are stored to this many digits: float32 products differ in the last ones between machines.
DIGITS = 5
# With more new personas than this share, a full search with its pruning is cheaper than new x all.
MOST_NEW = 0.1
# Raised by hand when the same settings find other edges.
EVIDENCE_VERSION = "1"
FOR_ONE_CUT = "dense boilerplate: the edges decide one threshold only"
EDGE_SCHEMA = {
    "lang": pl.String,
    "method": pl.String,
    "persona_a": pl.String,
    "persona_b": pl.String,
    "similarity": pl.Float64,
}
EVIDENCE_SCHEMA = {
    "lang": pl.String,
    "method": pl.String,
    "fingerprint": pl.String,
    "personas": pl.Int64,
    "threshold": pl.Float64,
    "floor": pl.Float64,
    "recall": pl.Float64,
    "permutations": pl.Int64,
    "bands": pl.Int64,
    "band_rows": pl.Int64,
}


_STORED = (
    """select persona_id from deduped_personas where lang = $1
    union all select loser_id from duplicate_personas where lang = $1""",
    "select * exclude (ordinal) from persona_edges where lang = $1 order by ordinal",
    "select * exclude (ordinal) from dedup_evidence where lang = $1 order by ordinal",
)


@dataclass(frozen=True)
class Stored:
    """What an earlier run left: the ids it compared, its edges, and a row of `dedup_evidence` per method."""

    ids: frozenset[str]
    edges: pl.DataFrame
    methods: pl.DataFrame


NOTHING = Stored(frozenset(), pl.DataFrame(schema=EDGE_SCHEMA), pl.DataFrame(schema=EVIDENCE_SCHEMA))


@dataclass(frozen=True)
class Evidence:
    """The similar pairs of one method down to its floor.

    Attributes:
        method: `minhash` or `embedding`.
        edges: Between rows of the filtered personas.
        fingerprint: Of the personas and the settings that the edges depend on.
        threshold: At which two personas are duplicates.
        floor: Least similarity of an edge.
        recall: Probability that a pair exactly at the threshold was found.
        plan: The bands, where there are any.
        source: `computed`, `stored`, or how many personas were compared anew.
    """

    method: str
    edges: Edges
    fingerprint: str
    threshold: float
    floor: float
    recall: float
    plan: BandPlan | None
    source: str


def stored_evidence(store: Warehouse, lang: str) -> Stored:
    """Read what the last deduplication of a language left; `NOTHING` where there was none."""
    with store.reading() as connection:
        frames = [connection.sql(query, params=[lang]).pl() for query in _STORED]
    ids, edges, methods = frames
    return Stored(frozenset(ids["persona_id"]), edges, methods)


def shingle_evidence(
    filtered: pl.DataFrame, language: Language, settings: DedupSettings, stored: Stored = NOTHING
) -> Evidence:
    """Find the near-duplicates by shingles among filtered personas (columns `persona_id`, `persona`).

    Stored edges are taken only where their bands have the wanted recall at the threshold: below the one
    they were planned for, they may not.
    """
    knobs = ("minhash", language.shingles, settings.permutations, settings.recall)
    texts, threshold, floor = filtered["persona"].to_list(), settings.jaccard, settings.jaccard_floor
    known = _known(filtered, knobs, stored, floor)
    plan = _plan(known.facts, settings) if known else None
    fingerprint = _fingerprint(knobs, filtered)
    if known and plan:
        edges = incremental.shingle_pairs(
            texts,
            known.edges,
            known.new,
            plan=plan,
            threshold=threshold,
            floor=floor,
            permutations=settings.permutations,
        )
        if edges is not None:
            return Evidence("minhash", edges, fingerprint, threshold, floor, plan.recall, plan, known.source)
    found = minhash.similar_pairs(
        texts,
        language.shingles,
        threshold=threshold,
        floor=floor,
        permutations=settings.permutations,
        recall=settings.recall,
    )
    edges = keep_one(priority(filtered), found, threshold).edges
    # Edges that were looked up for one cut do not serve for another.
    fingerprint = FOR_ONE_CUT if found.dense else fingerprint
    return Evidence("minhash", edges, fingerprint, threshold, floor, found.plan.recall, found.plan, "computed")


def embedding_evidence(
    filtered: pl.DataFrame, embedder: Embedder, settings: DedupSettings, stored: Stored = NOTHING
) -> Evidence:
    """Find the near-duplicates by meaning among filtered personas (columns `persona_id`, `persona`).

    The embedder is not asked where stored edges serve.
    """
    knobs = ("embedding", embedder.name, DIGITS)
    texts, threshold, floor = filtered["persona"].to_list(), settings.cosine, settings.cosine_floor
    # What rounding lifts to the floor is an edge, whether it is found now or was stored for a lower floor.
    least = floor - 10.0**-DIGITS
    known = _known(filtered, knobs, stored, floor)
    if known and known.new.sum() > MOST_NEW * len(known.new):
        known = None
    if known and not known.new.any():
        edges = known.edges
    elif known:
        edges = incremental.vector_pairs(embedder.encode(texts), known.edges, known.new, floor=least)
    else:
        edges = embeddings.similar_pairs(embedder.encode(texts), floor=least)
    source = known.source if known else "computed"
    fingerprint = _fingerprint(knobs, filtered)
    edges = _rounded(edges).at_least(floor)
    return Evidence("embedding", edges, fingerprint, threshold, floor, 1.0, None, source)


def evidence_rows(found: list[Evidence], lang: str, *, personas: int, permutations: int) -> pl.DataFrame:
    """Rows of `dedup_evidence`."""
    rows = [
        {
            "lang": lang,
            "method": one.method,
            "fingerprint": one.fingerprint,
            "personas": personas,
            "threshold": one.threshold,
            "floor": one.floor,
            "recall": one.recall,
            "permutations": permutations if one.plan else None,
            "bands": one.plan.bands if one.plan else None,
            "band_rows": one.plan.rows if one.plan else None,
        }
        for one in found
    ]
    return pl.DataFrame(rows, schema=EVIDENCE_SCHEMA)


def edge_rows(found: Evidence, ids: pl.Series, lang: str) -> pl.DataFrame:
    """Rows of `persona_edges`."""
    return pl.DataFrame(
        {
            "persona_a": ids[found.edges.left],
            "persona_b": ids[found.edges.right],
            "similarity": found.edges.similarity,
        }
    ).select(
        lang=pl.lit(lang),
        method=pl.lit(found.method),
        persona_a="persona_a",
        persona_b="persona_b",
        similarity="similarity",
    )


def edges_between(rows: pl.DataFrame, method: str, ids: pl.Series) -> Edges:
    """Turn the rows of `persona_edges` of one method into edges between places in `ids`."""
    places = pl.DataFrame({"id": ids, "place": np.arange(len(ids), dtype=np.int64)})
    placed = (
        rows.filter(pl.col("method") == method)
        .join(places, left_on="persona_a", right_on="id")
        .join(places, left_on="persona_b", right_on="id", suffix="_b")
    )
    return Edges.of(placed["place"].to_numpy(), placed["place_b"].to_numpy(), placed["similarity"].to_numpy())


@dataclass(frozen=True)
class _Known:
    edges: Edges
    new: NDArray[np.bool_]
    facts: dict[str, float | int | None]

    @property
    def source(self) -> str:
        count = int(self.new.sum())
        return f"{count} of {len(self.new)} compared" if count else "stored"


def _known(filtered: pl.DataFrame, knobs: tuple[object, ...], stored: Stored, floor: float) -> _Known | None:
    """The stored edges of a method, where all personas they belong to are here, unchanged and in order."""
    facts = stored.methods.filter(pl.col("method") == knobs[0])
    new = ~filtered["persona_id"].is_in(list(stored.ids))
    old = filtered.filter(~new)
    if facts.is_empty() or old.height != len(stored.ids) or facts["floor"][0] > floor:
        return None
    if _fingerprint(knobs, old) != facts["fingerprint"][0]:
        return None
    edges = edges_between(stored.edges, str(knobs[0]), filtered["persona_id"]).at_least(floor)
    return _Known(edges, new.to_numpy(), facts.row(0, named=True))


def _plan(facts: dict[str, float | int | None], settings: DedupSettings) -> BandPlan | None:
    bands, rows = int(facts["bands"] or 0), int(facts["band_rows"] or 0)
    reached = minhash.collision(settings.jaccard, bands, rows, settings.permutations)
    return BandPlan(bands, rows, reached) if reached >= settings.recall else None


def _fingerprint(knobs: tuple[object, ...], personas: pl.DataFrame) -> str:
    # The order counts: of many equal rows, edges name the first (see `Edges`).
    return digest(EVIDENCE_VERSION, *knobs, *personas["persona_id"], *personas["persona"], size=16)


def _rounded(edges: Edges) -> Edges:
    rounded = np.round(edges.similarity, DIGITS)
    # Only equal rows have similarity 1; `Edges` relies on it.
    unequal = (edges.similarity < 1.0) & (rounded >= 1.0)
    return Edges(edges.left, edges.right, np.where(unequal, 1.0 - 10.0**-DIGITS, rounded))
