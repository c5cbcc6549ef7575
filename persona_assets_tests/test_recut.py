"""Stored edges serve another threshold, and personas that were added, without computing anything twice."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from persona_assets.dedup import embeddings, evidence, minhash
from persona_assets.dedup.embedders import load_embedder
from persona_assets.dedup.evidence import Stored
from persona_assets.dedup.personas import Deduplicated, deduplicate
from persona_assets.languages import language
from persona_assets.resources.run_settings import RunSettings
from persona_assets.runner import run_languages
from persona_assets.settings import DedupSettings
from persona_assets.warehouse import Warehouse

# Runs at different thresholds cut different bands; with this recall none of them misses a pair of these few.
RECALL = 0.99999
SETTINGS = DedupSettings(
    embedder="lexical", cosine=0.85, cosine_floor=0.5, jaccard=0.7, jaccard_floor=0.3, recall=RECALL
)
ES = language("es")


class Refusing:
    """Has the name of the lexical embedder, and encodes nothing."""

    name = load_embedder("lexical").name

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise AssertionError(f"asked to encode {len(texts)} texts")


def corpus(rows: int, seed: int = 0) -> pl.DataFrame:
    words = ["enfermera", "panadera", "noche", "pueblo", "cerámica", "jubilada", "costa", "violín", "madruga", "enseña"]
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "persona_id": [f"p{n:03}" for n in range(rows)],
            "persona": [" ".join(rng.choice(words, rng.integers(4, 9))) for _ in range(rows)],
            "hop": rng.integers(0, 3, rows),
            "language_score": rng.random(rows),
        }
    )


def left_by(outcome: Deduplicated) -> Stored:
    ids = [*outcome.kept["persona_id"], *outcome.duplicates["loser_id"]]
    return Stored(frozenset(ids), outcome.edges, outcome.evidence)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("similar pairs were searched although they are stored")

    for module in (minhash, embeddings):
        monkeypatch.setattr(module, "similar_pairs", refuse)
    monkeypatch.setattr(evidence.incremental, "shingle_sets", refuse)
    monkeypatch.setattr(evidence.incremental, "pairs_between", refuse)


@pytest.mark.parametrize(
    "changed", [{"jaccard": 0.8}, {"cosine": 0.95}, {"cosine": 0.6}, {"jaccard": 0.9, "cosine": 0.7}, {}]
)
def test_another_threshold_is_cut_from_stored_edges_as_a_full_run_would(
    changed: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    personas, wanted = corpus(150), SETTINGS.model_copy(update=changed)
    stored = left_by(deduplicate(personas, ES, load_embedder("lexical"), SETTINGS))
    full = deduplicate(personas, ES, load_embedder("lexical"), wanted)
    forbid(monkeypatch)
    again = deduplicate(personas, ES, Refusing(), wanted, stored)
    assert again.kept.equals(full.kept)
    assert again.duplicates.equals(full.duplicates)
    assert set(again.sources.values()) == {"stored"}


def test_a_cut_of_a_cut_still_stands_on_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    personas = corpus(100)
    first = deduplicate(personas, ES, load_embedder("lexical"), SETTINGS)
    forbid(monkeypatch)
    higher = SETTINGS.model_copy(update={"cosine": 0.95, "jaccard": 0.9})
    second = deduplicate(personas, ES, Refusing(), higher, left_by(first))
    third = deduplicate(personas, ES, Refusing(), SETTINGS, left_by(second))
    assert third.kept.equals(first.kept)
    assert third.edges.equals(first.edges)


def test_below_the_threshold_the_bands_were_planned_for_shingles_are_hashed_again_and_nothing_is_encoded() -> None:
    # The stored bands find fewer pairs at 0.4 than the profile's recall promises.
    personas, lower = corpus(150), SETTINGS.model_copy(update={"jaccard": 0.4})
    stored = left_by(deduplicate(personas, ES, load_embedder("lexical"), SETTINGS))
    again = deduplicate(personas, ES, Refusing(), lower, stored)
    assert again.sources == {"minhash": "computed", "embedding": "stored"}
    assert again.lsh_recall >= lower.recall
    assert again.kept.equals(deduplicate(personas, ES, load_embedder("lexical"), lower).kept)


@pytest.mark.parametrize("change", ["text", "removed", "reordered", "floor", "permutations", "embedder"])
def test_edges_of_other_personas_or_settings_are_not_used(change: str) -> None:
    personas, settings = corpus(60), SETTINGS
    stored = left_by(deduplicate(personas, ES, load_embedder("lexical"), settings))
    embedder = load_embedder("lexical")
    if change == "text":
        personas = personas.with_columns(
            persona=pl.when(persona_id="p007").then(pl.lit("otra cosa")).otherwise("persona")
        )
    elif change == "removed":
        personas = personas[1:]
    elif change == "reordered":
        personas = personas.reverse()
    elif change == "floor":
        settings = settings.model_copy(update={"jaccard_floor": 0.2, "cosine_floor": 0.4})
    elif change == "permutations":
        settings = settings.model_copy(update={"permutations": 256})
    else:
        monkey = load_embedder("lexical")
        monkey.name = "another"  # type: ignore[misc]
        embedder = monkey
    again = deduplicate(personas, ES, embedder, settings, stored)
    full = deduplicate(personas, ES, load_embedder("lexical"), settings)
    assert again.kept.equals(full.kept)
    assert again.edges.equals(full.edges)
    expected = {"permutations": ("computed", "stored"), "embedder": ("stored", "computed")}
    assert tuple(again.sources.values()) == expected.get(change, ("computed", "computed"))


def test_a_higher_floor_lets_the_edges_below_it_go() -> None:
    personas, higher = corpus(80), SETTINGS.model_copy(update={"cosine_floor": 0.7, "jaccard_floor": 0.5})
    stored = left_by(deduplicate(personas, ES, load_embedder("lexical"), SETTINGS))
    again = deduplicate(personas, ES, Refusing(), higher, stored)
    full = deduplicate(personas, ES, load_embedder("lexical"), higher)
    assert again.edges.equals(full.edges)
    assert again.evidence["floor"].to_list() == [0.5, 0.7]


@pytest.mark.parametrize("before", [0, 1, 40, 110, 119])
def test_added_personas_are_compared_and_old_ones_not_again(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    personas = corpus(120)
    # Added ones may stand anywhere, and may go before old ones in priority.
    old = personas.filter(pl.Series(np.random.default_rng(1).permutation(120) < before))
    stored = left_by(deduplicate(old, ES, load_embedder("lexical"), SETTINGS))
    full = deduplicate(personas, ES, load_embedder("lexical"), SETTINGS)
    monkeypatch.setattr(minhash, "similar_pairs", None)
    again = deduplicate(personas, ES, load_embedder("lexical"), SETTINGS, stored)
    assert again.kept.equals(full.kept)
    assert again.duplicates.equals(full.duplicates)
    assert again.edges.equals(full.edges)
    some = f"{120 - before} of 120 compared"
    assert again.sources == {"minhash": some, "embedding": some if before > 108 else "computed"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [0, 1])
def test_no_persona_or_one_is_kept_the_first_time_and_again(rows: int) -> None:
    first = deduplicate(corpus(rows), ES, load_embedder("lexical"), SETTINGS)
    again = deduplicate(corpus(rows), ES, Refusing(), SETTINGS, left_by(first))
    assert (again.kept.height, again.duplicates.height, again.edges.height) == (rows, 0, 0)
    assert again.kept.equals(first.kept)
    assert set(again.sources.values()) == {"stored"}


def test_unequal_rows_are_never_stored_with_similarity_one() -> None:
    class Close:
        name = "close"

        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            angles = np.arange(len(texts)) * 1e-3
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    outcome = deduplicate(corpus(5), ES, Close(), SETTINGS)
    found = outcome.edges.filter(pl.col("method") == "embedding")
    assert found.height == 10
    assert found["similarity"].max() == 0.99999


def partition(home: Path) -> dict[str, list[tuple[object, ...]]]:
    store = Warehouse(home / "personas.duckdb")
    return {table: store.read(table, "es").rows() for table in ("deduped_personas", "duplicate_personas")}


def test_a_second_materialization_with_another_threshold_computes_nothing(
    demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo_home, tmp_path / "cut")
    shutil.copytree(demo_home, tmp_path / "full")
    overrides = {"dedup.cosine": 0.95, "dedup.jaccard": 0.9}

    def materialize(home: Path) -> None:
        done = run_languages(
            ["es"], RunSettings(profile="demo", home=str(home), overrides=overrides), select="deduped_personas"
        )
        assert [run.error for run in done] == [None]

    with Warehouse(tmp_path / "full" / "personas.duckdb").writing() as connection:
        connection.execute("delete from dedup_evidence")
    materialize(tmp_path / "full")
    forbid(monkeypatch)
    monkeypatch.setattr("persona_assets.dedup.embedders.LexicalEmbedder.encode", Refusing.encode)
    materialize(tmp_path / "cut")
    assert partition(tmp_path / "cut") == partition(tmp_path / "full")
    assert partition(tmp_path / "cut") != partition(demo_home)


def test_a_home_of_an_older_version_without_evidence_is_deduplicated_in_full(demo_home: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_home, tmp_path / "old")
    with Warehouse(tmp_path / "old" / "personas.duckdb").writing() as connection:
        connection.execute("drop table dedup_evidence")
        connection.execute("update schema_version set version = 'old'")
    done = run_languages(["es"], RunSettings(profile="demo", home=str(tmp_path / "old")), select="deduped_personas")
    assert [run.error for run in done] == [None]
    assert partition(tmp_path / "old") == partition(demo_home)
