"""`persona-assets thresholds`: what other thresholds would leave, from stored edges alone."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from persona_assets.dedup.edges import Edges
from persona_assets.dedup.recut import grid_between, survivors
from persona_assets.errors import WarehouseError
from persona_assets.report.threshold_plot import draw
from persona_assets.report.thresholds import stages
from persona_assets.resources.run_settings import RunSettings
from persona_assets.runner import run_languages
from persona_assets.warehouse import Warehouse
from persona_assets_tests.conftest import Cli, command_line


def test_every_threshold_is_cut_by_the_keep_rule() -> None:
    # A ~ B ~ C: where both pairs count, B goes and C stays.
    edges = Edges.of(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.7]))
    cuts = survivors(np.array([0, 1, 2]), edges, [0.6, 0.8, 1.0])
    assert [(cut.pairs, cut.survivors, cut.dropped) for cut in cuts] == [(2, 2, 1), (1, 2, 1), (0, 3, 0)]


@pytest.mark.parametrize("rows", [0, 1])
def test_few_or_no_personas_all_survive(rows: int) -> None:
    (cut,) = survivors(np.arange(rows), Edges.empty(), [0.7])
    assert (cut.survivors, cut.dropped, cut.pairs) == (rows, 0, 0)


def test_the_grid_begins_at_the_floor_ends_at_one_and_holds_the_threshold_in_force() -> None:
    assert grid_between(0.62, 0.1, 0.85) == [0.62, 0.7, 0.8, 0.85, 0.9, 1.0]
    assert grid_between(0.75, 0.25, 0.75) == [0.75, 1.0]


def test_the_cut_in_force_is_what_was_materialized(demo_home: Path) -> None:
    store = Warehouse(demo_home / "personas.duckdb")
    shingled, embedded = stages(store, "es", step=0.05)
    survived = {
        stage.method: next(c.survivors for c in stage.cuts if c.threshold == stage.current)
        for stage in (shingled, embedded)
    }
    assert embedded.personas == survived["minhash"]
    assert survived["embedding"] == store.read("deduped_personas", "es").height
    assert [cut.survivors for cut in shingled.cuts] == sorted(cut.survivors for cut in shingled.cuts)
    assert shingled.recall == sorted(shingled.recall)


@pytest.mark.parametrize("cosine", [0.8, 0.95])
def test_the_table_foretells_what_a_run_at_that_threshold_keeps(demo_home: Path, tmp_path: Path, cosine: float) -> None:
    shutil.copytree(demo_home, tmp_path / "data")
    store = Warehouse(tmp_path / "data" / "personas.duckdb")
    foretold = {cut.threshold: cut.survivors for cut in stages(store, "zh", step=0.05)[1].cuts}
    settings = RunSettings(profile="demo", home=str(tmp_path / "data"), overrides={"dedup.cosine": cosine})
    assert run_languages(["zh"], settings, select="deduped_personas")[0].error is None
    assert store.read("deduped_personas", "zh").height == foretold[cosine]


def test_personas_that_changed_since_are_not_cut_with_old_edges(demo_home: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_home, tmp_path / "data")
    store = Warehouse(tmp_path / "data" / "personas.duckdb")
    store.replace_partition("es", {"filtered_personas": store.read("filtered_personas", "es")[1:]})
    with pytest.raises(WarehouseError, match="--select deduped_personas"):
        stages(store, "es", step=0.05)


def test_a_language_whose_personas_were_all_rejected_has_empty_cuts(demo_home: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_home, tmp_path / "data")
    store = Warehouse(tmp_path / "data" / "personas.duckdb")
    store.replace_partition("es", {"filtered_personas": store.read("filtered_personas", "es").clear()})
    settings = RunSettings(profile="demo", home=str(tmp_path / "data"))
    assert run_languages(["es"], settings, select="deduped_personas")[0].error is None
    found = stages(store, "es", step=0.05)
    assert {cut.survivors for stage in found for cut in stage.cuts} == {0}
    assert draw(found, "es").startswith("<svg")


def test_the_plot_is_a_drawing_that_marks_both_thresholds(demo_home: Path) -> None:
    drawing = draw(stages(Warehouse(demo_home / "personas.duckdb"), "es", step=0.05), "es")
    root = ET.fromstring(drawing)
    texts = " ".join(node.text or "" for node in root.iter() if node.tag.endswith("text"))
    assert "dedup.jaccard; now 0.7" in texts
    assert "dedup.cosine; now 0.85" in texts
    assert len([node for node in root.iter() if node.tag.endswith("polyline")]) == 2


def test_the_command_prints_a_table_or_json_and_writes_the_plot(demo_home: Path, tmp_path: Path) -> None:
    plot = tmp_path / "cut.svg"
    table = command_line("thresholds", "Spanish", "--home", demo_home, "--plot", plot, cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert table.stdout.count("in force") == 4  # in two titles and two rows
    assert plot.read_text(encoding="utf-8").startswith("<svg")
    told = json.loads(command_line("thresholds", "es", "--home", demo_home, "--json", cwd=tmp_path).stdout)
    assert [stage["method"] for stage in told] == ["minhash", "embedding"]
    assert sum(cut["current"] for stage in told for cut in stage["cuts"]) == 2
    wrong = command_line("thresholds", "es", "--home", demo_home, "--plot", "cut.png", cwd=tmp_path)
    assert (wrong.returncode, "ends in .svg" in wrong.stderr) == (2, True)
    assert command_line("thresholds", "xx", "--home", demo_home, cwd=tmp_path).returncode == 1


def test_before_any_deduplication_the_command_says_what_to_run(cli: Cli, demo_home: Path, tmp_path: Path) -> None:
    missing = cli("thresholds", "es")
    assert (missing.returncode, missing.stderr.startswith("error: nothing has been materialized")) == (1, True)
    shutil.copytree(demo_home, tmp_path / "data")
    with Warehouse(tmp_path / "data" / "personas.duckdb").writing() as connection:
        connection.execute("delete from dedup_evidence")
    assert "has no stored edges yet" in cli("thresholds", "es").stderr
