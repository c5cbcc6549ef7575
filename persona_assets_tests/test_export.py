"""The exported dataset, opened as its users will open it."""

from pathlib import Path

import pytest

from persona_assets.publish.dataset import CONVERSATION_COLUMNS
from persona_assets.settings import load_profile
from persona_assets.warehouse import Warehouse
from persona_assets_tests.conftest import command_line


@pytest.fixture(scope="module", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    datasets.config.HF_DATASETS_CACHE = str(tmp_path_factory.mktemp("cache"))


def test_load_dataset_opens_every_language_with_the_columns_of_mpersonas(demo_home: Path) -> None:
    import datasets

    names = datasets.get_dataset_config_names(str(demo_home / "dataset"))
    assert set(names) == {name for code in load_profile("demo").languages for name in (code, f"{code}-personas")}
    rows = datasets.load_dataset(str(demo_home / "dataset"), "es", split="train")
    assert tuple(rows.column_names) == CONVERSATION_COLUMNS
    first = rows[0]
    assert first["lang"] == "es"
    assert first["type"] in {"general", "reasoning"}
    assert first["prompt"] == first["messages"][0]["content"]
    assert [turn["role"] for turn in first["messages"][:2]] == ["user", "assistant"]


def test_the_personas_of_a_language_are_a_configuration_of_their_own(demo_home: Path) -> None:
    import datasets

    personas = datasets.load_dataset(str(demo_home / "dataset"), "eu-personas", split="train")
    kept = Warehouse(demo_home / "personas.duckdb").read("deduped_personas", "eu")
    assert personas["persona_id"] == kept["persona_id"].to_list()
    assert all(personas["source_url"])


def test_the_card_gives_the_funnel_of_every_language(demo_home: Path) -> None:
    card = (demo_home / "dataset" / "README.md").read_text(encoding="utf-8")
    (kept,) = Warehouse(demo_home / "personas.duckdb").query("select conversations from funnel where lang = 'ar'")
    assert any(line.startswith("| ar |") and line.endswith(f"| {kept.item()} |") for line in card.splitlines())
    assert "$" not in card


def test_export_writes_chosen_languages_elsewhere(demo_home: Path, tmp_path: Path) -> None:
    done = command_line("export", "--to", tmp_path / "out", "--languages", "zh,eu", cwd=demo_home.parent)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "eu", "zh"]
    same = (demo_home / "dataset" / "zh" / "conversations.parquet").read_bytes()
    assert (tmp_path / "out" / "zh" / "conversations.parquet").read_bytes() == same
