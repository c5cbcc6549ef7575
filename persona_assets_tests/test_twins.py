"""Twins across languages: found by a shared embedder, tagged, shown by `why`, and never dropped."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from dagster import AssetKey, DagsterInstance
from numpy.typing import NDArray

from persona_assets.dedup.twins import TWIN_SCHEMA, find_twins
from persona_assets.resources.run_settings import RunSettings
from persona_assets.runner import dagster_instance, run_languages
from persona_assets.warehouse import Warehouse
from persona_assets_tests.conftest import command_line

# Meaning as an angle: what is written alike in this table means alike.
MEANINGS = {"enfermera": 0.0, "erizaina": 0.1, "护士": 0.3, "panadera": 1.5, "okina": 1.6, "面包师": 3.0}


class Meaning:
    name = "meaning@1"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.array([MEANINGS[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def personas(lang: str, *texts: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"lang": [lang] * len(texts), "persona_id": [f"{lang}-{text}" for text in texts], "persona": texts},
        schema={"lang": pl.String, "persona_id": pl.String, "persona": pl.String},
    )


def test_twins_are_the_pairs_at_the_threshold_best_first() -> None:
    others = [personas("eu", "erizaina", "okina"), personas("ar"), personas("zh", "护士", "面包师")]
    found = find_twins(personas("es", "enfermera", "panadera"), others, Meaning(), threshold=0.95)
    assert found.select("persona_id", "twin_id").rows() == [
        ("es-enfermera", "eu-erizaina"),
        ("es-enfermera", "zh-护士"),
        ("es-panadera", "eu-okina"),
    ]
    assert found["cosine"].to_list() == [round(float(np.cos(angle)), 5) for angle in (0.1, 0.3, 0.1)]


@pytest.mark.parametrize("mine", [(), ("enfermera",)])
def test_without_personas_on_one_side_there_are_no_twins_but_all_columns(mine: tuple[str, ...]) -> None:
    found = find_twins(personas("es", *mine), [personas("eu")], Meaning(), threshold=0.5)
    assert (found.height, found.schema) == (0, pl.Schema(TWIN_SCHEMA))


def make_twins(home: Path, *langs: str, **overrides: object) -> None:
    settings = RunSettings(profile="demo", home=str(home), overrides=overrides)
    ended = run_languages(langs, settings, select="crosslingual_twins")
    assert [run.error for run in ended] == [None] * len(langs)


@pytest.fixture
def home(demo_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(demo_home, tmp_path / "data")
    return tmp_path / "data"


def test_the_asset_finds_planted_twins_drops_nobody_and_why_shows_them_from_both_sides(
    home: Path, tiny_labse: Path
) -> None:
    store = Warehouse(home / "personas.duckdb")
    # Random weights know no languages, so the twin is the same text under two of them.
    spanish, basque = store.read("deduped_personas", "es"), store.read("deduped_personas", "eu")
    twin = spanish[:1].with_columns(lang=pl.lit("eu"), persona_id=pl.lit("eu-twin"))
    before = basque.vstack(twin)
    store.replace_partition("eu", {"deduped_personas": before})
    raw = store.read("raw_personas", "eu")
    store.replace_partition("eu", {"raw_personas": raw.vstack(twin.select(raw.columns))})
    make_twins(home, "es", **{"dedup.embedder": str(tiny_labse), "dedup.twin_cosine": 0.99999})
    found = store.read("crosslingual_twins", "es")
    assert (spanish["persona_id"][0], "eu", "eu-twin") in found.select("persona_id", "twin_lang", "twin_id").rows()
    assert found["cosine"].min() >= 0.99999
    assert store.read("deduped_personas", "eu").equals(before)
    for one, other in ((spanish["persona_id"][0], "eu-twin"), ("eu-twin", spanish["persona_id"][0])):
        told = command_line("why", one, "--home", home, "--json", cwd=home.parent)
        chapters = {chapter["chapter"]: chapter for chapter in json.loads(told.stdout)}
        assert other in [row["persona_id"] for row in chapters["twins in other languages"]["rows"]]


def test_the_vectors_of_a_shared_model_are_kept_for_the_next_language(home: Path, tiny_labse: Path) -> None:
    overrides = {"dedup.embedder": str(tiny_labse), "dedup.twin_cosine": 0.99999}
    make_twins(home, "es", "eu", **overrides)
    (file,) = (home / "embeddings").glob("*.sqlite")
    before = file.stat().st_mtime_ns
    make_twins(home, "es", **overrides)
    assert file.stat().st_mtime_ns == before


def test_the_lexical_embedder_records_nothing_and_says_so(home: Path) -> None:
    make_twins(home, "es")
    assert Warehouse(home / "personas.duckdb").read("crosslingual_twins", "es").is_empty()
    assert "letters" in str(metadata_of(home, "crosslingual_twins")["nothing_recorded"].value)


def metadata_of(home: Path, name: str) -> dict[str, object]:
    def last(instance: DagsterInstance) -> dict[str, object]:
        event = instance.get_latest_materialization_event(AssetKey(name))
        assert event is not None
        assert event.asset_materialization is not None
        return dict(event.asset_materialization.metadata)

    settings = RunSettings(profile="demo", home=str(home))
    with dagster_instance(settings.at()) as instance:
        return last(instance)


def test_twins_are_made_by_the_command_line(home: Path) -> None:
    done = command_line(
        "run",
        "--profile",
        "demo",
        "--languages",
        "es",
        "--select",
        "crosslingual_twins",
        "--home",
        home,
        cwd=home.parent,
    )
    assert done.returncode == 0, done.stderr
