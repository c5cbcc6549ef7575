"""The DuckDB file: whole partitions or none, one writer at a time, and messages that name the holder."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from persona_assets.errors import WarehouseError
from persona_assets.locks import held
from persona_assets.warehouse import Origin, Warehouse


def losers(lang: str, count: int, similarity: float | None = 0.9) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "lang": [lang] * count,
            "loser_id": [f"{lang}-{row}" for row in range(count)],
            "winner_id": ["w"] * count,
            "method": ["minhash"] * count,
            "similarity": [similarity] * count,
            "threshold": [0.7] * count,
        },
        schema_overrides={"similarity": pl.Float64},
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "personas.duckdb", wait_s=0.5)


def test_a_partition_is_read_back_in_its_order_and_others_stay(warehouse: Warehouse) -> None:
    warehouse.replace_partition("es", {"duplicate_personas": losers("es", 3)})
    warehouse.replace_partition("eu", {"duplicate_personas": losers("eu", 2)})
    reordered = losers("es", 4).reverse()
    warehouse.replace_partition("es", {"duplicate_personas": reordered})
    assert warehouse.read("duplicate_personas", "es").equals(reordered)
    assert warehouse.read("duplicate_personas", "eu").height == 2


def test_columns_are_matched_by_name_not_by_position(warehouse: Warehouse) -> None:
    shuffled = losers("es", 1).select("threshold", "winner_id", "method", "lang", "similarity", "loser_id")
    warehouse.replace_partition("es", {"duplicate_personas": shuffled})
    assert warehouse.read("duplicate_personas", "es")["winner_id"].to_list() == ["w"]


def test_a_failed_insert_leaves_the_old_rows_of_every_table(warehouse: Warehouse) -> None:
    edges = pl.DataFrame(
        {"lang": ["es"], "method": ["minhash"], "persona_a": ["a"], "persona_b": ["b"], "similarity": [0.8]}
    )
    warehouse.replace_partition("es", {"persona_edges": edges, "duplicate_personas": losers("es", 3)})
    broken = losers("es", 5, similarity=None)  # a null where the table allows none
    with pytest.raises(WarehouseError, match="NOT NULL"):
        warehouse.replace_partition("es", {"persona_edges": edges.clear(), "duplicate_personas": broken})
    assert warehouse.read("persona_edges", "es").height == 1
    assert warehouse.read("duplicate_personas", "es").height == 3


def test_an_unknown_column_is_refused_and_nothing_changes(warehouse: Warehouse) -> None:
    warehouse.replace_partition("es", {"duplicate_personas": losers("es", 3)})
    with pytest.raises(WarehouseError, match="surprise"):
        warehouse.replace_partition("es", {"duplicate_personas": losers("es", 1).with_columns(surprise=1)})
    assert warehouse.read("duplicate_personas", "es").height == 3


def test_rows_of_another_language_cannot_enter_a_partition(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="rows of eu in the partition es"):
        warehouse.replace_partition("es", {"duplicate_personas": losers("eu", 1)})


def test_every_materialization_is_noted_with_its_profile(warehouse: Warehouse) -> None:
    origin = Origin("deduped_personas", "run-1", "mine", '{"name": "mine"}')
    warehouse.replace_partition("es", {"duplicate_personas": losers("es", 1)}, origin)
    noted = warehouse.query("select lang, asset, run_id, profile, settings from materializations").rows()
    assert noted == [("es", "deduped_personas", "run-1", "mine", '{"name": "mine"}')]


def replace_many(path: str, lang: str, times: int) -> None:
    store = Warehouse(Path(path))
    for count in range(1, times + 1):
        store.replace_partition(lang, {"duplicate_personas": losers(lang, count)})


def test_four_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "personas.duckdb"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=replace_many, args=(str(path), lang, 6)) for lang in ("es", "eu", "zh", "ar")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    counts = Warehouse(path).query("select lang, count(*) from duplicate_personas group by lang order by lang").rows()
    assert counts == [("ar", 6), ("es", 6), ("eu", 6), ("zh", 6)]


def test_reading_before_anything_exists_says_what_to_run(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="persona-assets demo"):
        warehouse.read("raw_personas", "es")


def test_a_foreign_program_that_holds_the_file_is_named(warehouse: Warehouse) -> None:
    warehouse.replace_partition("es", {"duplicate_personas": losers("es", 1)})
    script = (
        f"import duckdb, sys; c = duckdb.connect({str(warehouse.path)!r}); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WarehouseError, match=f"process {holder.pid}"):
            warehouse.replace_partition("es", {"duplicate_personas": losers("es", 2)})
        holder.communicate("")
    assert warehouse.read("duplicate_personas", "es").height == 1


def test_a_file_that_is_no_database_is_named_and_left_alone(warehouse: Warehouse) -> None:
    warehouse.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(WarehouseError, match=r"personas\.duckdb"):
        warehouse.replace_partition("es", {"duplicate_personas": losers("es", 1)})
    assert warehouse.path.read_bytes().startswith(b"not a database")


def test_a_held_lock_names_its_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    with held(path, timeout_s=0, busy=RuntimeError):
        script = (
            "from pathlib import Path; from persona_assets.locks import held\n"
            f"with held(Path({str(path)!r}), timeout_s=0.1, busy=RuntimeError): pass"
        )
        refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert f"process {os.getpid()} on" in refused.stderr
    with held(path, timeout_s=0, busy=RuntimeError):
        pass


def test_a_schema_from_an_older_version_is_brought_up_to_date(warehouse: Warehouse) -> None:
    warehouse.replace_partition("es", {"duplicate_personas": losers("es", 1)})
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("drop view funnel")
        connection.execute("update schema_version set version = 'old'")
    warehouse.replace_partition("eu", {"duplicate_personas": losers("eu", 1)})
    assert warehouse.query("from funnel").height == 2
