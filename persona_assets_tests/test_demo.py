"""The demo, as a newcomer runs it: every stage works, every row is accounted for, twice gives the same."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from persona_assets.report.funnel import funnel_rows, imbalances
from persona_assets.settings import load_profile
from persona_assets.warehouse import Warehouse
from persona_assets_tests.conftest import Finished, command_line

LANGUAGES = load_profile("demo").languages


def exported(home: Path) -> dict[str, str]:
    files = sorted(path for path in (home / "dataset").rglob("*") if path.is_file())
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_demo_prints_the_funnel_samples_places_and_next_steps(demo: tuple[Path, Finished]) -> None:
    home, finished = demo
    for lang in LANGUAGES:
        assert re.search(rf"^ *{lang}( +\d+){{6}} *$", finished.stdout, re.MULTILINE)
    assert finished.stdout.count("\n  - ") == 3 * len(LANGUAGES)
    assert str(home / "personas.duckdb") in finished.stdout
    assert str(home / "dataset") in finished.stdout
    assert "persona-assets why" in finished.stdout
    assert "Traceback" not in finished.stdout + finished.stderr


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_stage_of_every_language_keeps_some_rows_and_lets_some_go(demo_home: Path, lang: str) -> None:
    (row,) = funnel_rows(Warehouse(demo_home / "personas.duckdb"), [lang])
    assert row["documents"] >= 8
    stages = ("documents_rejected", "replies_rejected", "rejected", "duplicates", "conversations_rejected")
    assert all(row[stage] > 0 for stage in stages), row
    assert row["conversations"] > 10


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_came_in_is_what_went_out_or_was_let_go(demo_home: Path, lang: str) -> None:
    store = Warehouse(demo_home / "personas.duckdb")
    (row,) = funnel_rows(store, [lang])
    assert imbalances(row) == []
    fates = store.query("select fate, count(*) from persona_fates where lang = ? group by fate", [lang]).rows()
    assert dict(fates) == {"kept": row["deduplicated"], "duplicate": row["duplicates"], "rejected": row["rejected"]}
    documents = sum(1 for _ in (Path(__file__).parents[1] / f"persona_assets/samples/documents/{lang}.jsonl").open())
    assert row["documents"] + row["documents_rejected"] == documents


@pytest.mark.parametrize("method", ["minhash", "embedding"])
def test_both_deduplication_methods_find_something(demo_home: Path, method: str) -> None:
    found = Warehouse(demo_home / "personas.duckdb").query(
        "select distinct lang from duplicate_personas where method = ?", [method]
    )
    assert found.height > 0


def test_the_kinds_of_faults_that_models_make_are_all_caught(demo_home: Path) -> None:
    store = Warehouse(demo_home / "personas.duckdb")
    replies = set(store.query("select distinct reason from rejected_replies")["reason"])
    assert {"invalid_json", "truncated", "wrong_shape"} <= replies
    talks = set(store.query("select distinct reason from rejected_conversations")["reason"])
    assert {"last_not_assistant", "not_alternating", "empty_turn", "turn_language", "unknown_theme"} <= talks
    assert "other_language" in set(store.query("select distinct reason from rejected_personas")["reason"])


def test_personas_come_from_documents_and_from_personas_two_hops_away(demo_home: Path) -> None:
    hops = Warehouse(demo_home / "personas.duckdb").query(
        "select lang, max(hop) as hops, count(distinct relation) as relations from deduped_personas group by lang"
    )
    assert set(hops["hops"]) == {2}
    assert min(hops["relations"]) >= 6


def test_a_second_demo_exports_the_same_bytes(demo_home: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_home, tmp_path / "data")
    again = command_line("demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert exported(tmp_path / "data") == exported(demo_home)
    fresh = command_line("demo", "--home", tmp_path / "elsewhere", "--languages", "eu", cwd=tmp_path)
    assert fresh.returncode == 0, fresh.stderr
    mine, theirs = exported(tmp_path / "elsewhere"), exported(demo_home)
    assert mine["dataset/eu/conversations.parquet"] == theirs["dataset/eu/conversations.parquet"]
    assert mine["dataset/eu/personas.parquet"] == theirs["dataset/eu/personas.parquet"]


def test_the_demo_does_not_replace_a_teams_own_partitions(demo_home: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_home, tmp_path / "data")
    with Warehouse(tmp_path / "data" / "personas.duckdb").writing() as connection:
        connection.execute("update materializations set profile = 'ours' where lang = 'zh'")
    refused = command_line("demo", cwd=tmp_path)
    assert refused.returncode == 1
    assert "made with the profile 'ours'" in refused.stderr
    assert "--home" in refused.stderr
    others = command_line("demo", "--languages", "eu", cwd=tmp_path)
    assert others.returncode == 0


IDS = {
    "seed_documents": "doc_id",
    "rejected_documents": "doc_id",
    "raw_personas": "persona_id",
    "filtered_personas": "persona_id",
    "rejected_personas": "persona_id",
    "deduped_personas": "persona_id",
    "duplicate_personas": "loser_id",
    "conversations": "id",
    "rejected_conversations": "id",
    "rejected_replies": "answer_key",
    "persona_answers": "answer_key",
    "conversation_answers": "answer_key",
    "persona_edges": "persona_a",
    "materializations": "run_id",
}


@pytest.mark.parametrize("table", IDS)
def test_why_explains_every_id_of_every_table(demo_home: Path, table: str) -> None:
    from persona_assets.report.why import life_of

    store = Warehouse(demo_home / "personas.duckdb")
    ids = store.query(f"select {IDS[table]} as id from {table} where lang = 'ar'")["id"].to_list()
    assert ids
    for identifier in ids:
        chapters = life_of(store, identifier)
        assert identifier in json.dumps(chapters, ensure_ascii=False, default=str), (table, identifier)


def test_why_tells_a_duplicates_life_from_the_document_to_the_persona_kept_in_its_place(demo_home: Path) -> None:
    store = Warehouse(demo_home / "personas.duckdb")
    loser, winner = store.query("select loser_id, winner_id from duplicate_personas where lang = 'es' limit 1").row(0)
    told = command_line("why", loser, "--json", cwd=demo_home.parent)
    assert told.returncode == 0
    chapters = {chapter["chapter"]: chapter for chapter in json.loads(told.stdout)}
    assert chapters["seed document"]["text"]
    assert chapters["the model's reply"]["text"]
    assert chapters["verdict"]["fate"] == "duplicate"
    assert chapters["verdict"]["score"] >= chapters["verdict"]["threshold"]
    assert chapters["kept in its place"]["persona_id"] == winner


def test_why_tells_the_whole_chain_of_a_persona_two_hops_away(demo_home: Path) -> None:
    store = Warehouse(demo_home / "personas.duckdb")
    far = store.query("select persona_id from raw_personas where hop = 2 and lang = 'eu' limit 1").item()
    told = command_line("why", far, cwd=demo_home.parent)
    order = [
        told.stdout.index(title) for title in ("SEED DOCUMENT", "ANCESTOR AT HOP 0", "ANCESTOR AT HOP 1", "VERDICT")
    ]
    assert order == sorted(order)


def test_why_of_a_source_documents_own_id_and_of_an_unknown_one(demo_home: Path) -> None:
    store = Warehouse(demo_home / "personas.duckdb")
    source = store.query("select source_id from seed_documents limit 1").item()
    assert command_line("why", source, cwd=demo_home.parent).returncode == 0
    unknown = command_line("why", "es-p-nonsense", cwd=demo_home.parent)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("error: no table holds the id 'es-p-nonsense'")


def test_the_funnel_as_json_has_the_numbers_of_the_table(demo_home: Path) -> None:
    told = command_line("funnel", "--json", "--languages", "zh", cwd=demo_home.parent)
    assert json.loads(told.stdout) == funnel_rows(Warehouse(demo_home / "personas.duckdb"), ["zh"])
