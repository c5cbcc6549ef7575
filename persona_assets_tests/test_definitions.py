"""The code location: what it holds, and what it does not load."""

import subprocess
import sys

import pytest
from dagster import AssetKey

from persona_assets.assets.partitions import LANGUAGES
from persona_assets.definitions import build_definitions
from persona_assets.errors import PersonaAssetsError
from persona_assets.languages import languages
from persona_assets.resources.run_settings import RunSettings
from persona_assets.runner import selected_keys

EDGES = {
    "seed_documents": set(),
    "rejected_documents": set(),
    "raw_personas": {"seed_documents", "prompt_packs"},
    "rejected_replies": {"seed_documents", "prompt_packs"},
    "filtered_personas": {"raw_personas"},
    "rejected_personas": {"raw_personas"},
    "deduped_personas": {"filtered_personas"},
    "duplicate_personas": {"filtered_personas"},
    "crosslingual_twins": {"deduped_personas"},
    "conversations": {"deduped_personas", "seed_documents", "prompt_packs"},
    "rejected_conversations": {"deduped_personas", "seed_documents", "prompt_packs"},
    "dataset": {"conversations", "deduped_personas", "seed_documents"},
}


def definitions(**overrides: object):
    return build_definitions(RunSettings(profile="demo", home="unused", overrides=overrides))


def test_the_graph_is_the_plan_of_record() -> None:
    graph = definitions().resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.materializable_asset_keys
    }
    assert found == EDGES


def test_every_asset_has_one_partition_per_language() -> None:
    graph = definitions().resolve_asset_graph()
    assert {graph.get(AssetKey(name)).partitions_def for name in EDGES} == {LANGUAGES}
    assert LANGUAGES.get_partition_keys() == list(languages())


def versions(**overrides: object) -> dict[str, str | None]:
    graph = definitions(**overrides).resolve_asset_graph()
    return {name: graph.get(AssetKey(name)).code_version for name in EDGES}


@pytest.mark.parametrize(
    ("knob", "value", "stale"),
    [
        ("filters.min_language_score", 0.6, {"filtered_personas", "rejected_personas"}),
        ("dedup.jaccard", 0.8, {"deduped_personas", "duplicate_personas"}),
        ("dedup.twin_cosine", 0.8, {"crosslingual_twins"}),
        ("conversations.reasoning_share", 0.1, {"conversations", "rejected_conversations"}),
        ("seeds.limit", 5, {"seed_documents", "rejected_documents"}),
        ("expansion.hops", 1, {"raw_personas", "rejected_replies"}),
        ("llm.concurrency", 3, set()),
    ],
)
def test_a_knob_changes_the_code_version_of_the_assets_that_read_it(knob: str, value: object, stale: set[str]) -> None:
    before, after = versions(), versions(**{knob: value})
    assert {name for name in EDGES if before[name] != after[name]} == stale


def test_loading_the_code_location_loads_no_heavy_package() -> None:
    heavy = (
        "torch",
        "vllm",
        "sentence_transformers",
        "fasttext",
        "numba",
        "sklearn",
        "datasketch",
        "openai",
        "datasets",
    )
    script = f"import sys, persona_assets.definitions; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_pure_packages_do_not_import_dagster() -> None:
    pure = (
        "warehouse settings languages preflight llm.model llm.exchange generation.harvest generation.dialogues"
        " filters.personas filters.conversations filters.evaluation dedup.personas dedup.twins seeds.selection"
        " publish.card report.why report.funnel report.thresholds"
    )
    imports = "; ".join(f"import persona_assets.{name}" for name in pure.split())
    script = f"import sys; {imports}; print('dagster' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"


def test_a_selection_follows_dagsters_syntax_and_takes_what_is_made_together() -> None:
    assert [key.to_user_string() for key in selected_keys(definitions(), "filtered_personas")] == [
        "filtered_personas",
        "rejected_personas",
    ]
    names = {key.to_user_string() for key in selected_keys(definitions(), "deduped_personas+")}
    assert {"deduped_personas", "duplicate_personas", "conversations", "dataset"} <= names
    assert "raw_personas" not in names


def test_an_optional_asset_is_made_only_where_it_is_named() -> None:
    def names(select: str | None) -> set[str]:
        return {key.to_user_string() for key in selected_keys(definitions(), select)}

    assert names(None) == set(EDGES) - {"crosslingual_twins"}
    assert "crosslingual_twins" not in names("raw_personas+")
    assert names("crosslingual_twins") == {"crosslingual_twins"}


def test_an_unknown_selection_names_what_there_is() -> None:
    with pytest.raises(PersonaAssetsError, match="there are conversations"):
        selected_keys(definitions(), "persona")
