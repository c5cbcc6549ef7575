"""`persona-assets run` against a real HTTP endpoint: nothing asked twice, nothing lost, one line per fault."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from persona_assets.report.funnel import funnel_rows, imbalances
from persona_assets.warehouse import Warehouse
from persona_assets_tests.conftest import TINY_GLOTLID, Cli, Finished
from persona_assets_tests.endpoint import Endpoint

DOCUMENTS = 40


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Distinct Spanish documents without any column but the text."""
    path = tmp_path / "documents.jsonl"
    lines = (
        f"El número {n} de la revista del barrio cuenta cómo la panadería de la calle {n * 7} cambió de dueños después"
        f" de {n + 3} años, y qué opinan de ello los vecinos que desayunan allí cada mañana."
        for n in range(DOCUMENTS)
    )
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def reached(endpoint: Endpoint) -> dict[str, str]:
    return {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": endpoint.key}


def exported(home: Path) -> str:
    return hashlib.sha256((home / "dataset" / "es" / "conversations.parquet").read_bytes()).hexdigest()


def one_line(finished: Finished) -> str:
    """The error line of a run that failed as it should: one line, exit code 1, no stack trace."""
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, finished.stderr
    return lines[0]


def test_a_repeated_run_sends_no_request_and_exports_the_same_bytes(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    command = ("run", "--languages", "es", "--documents", documents, "--json")
    first = cli(*command, **reached)
    assert first.returncode == 0, first.stderr
    (row,) = json.loads(first.stdout)
    assert row["documents"] == DOCUMENTS
    assert imbalances(row) == []
    stats = endpoint.stats()
    assert stats["requests"] == stats["distinct_bodies"] == row["replies"] + row["deduplicated"]
    assert set(stats["answered"].values()) == {1}
    before = exported(tmp_path / "data")
    second = cli(*command, **reached)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout) == [row]
    assert endpoint.stats()["requests"] == stats["requests"]
    assert exported(tmp_path / "data") == before


def test_every_document_is_asked_about_once_with_its_text_last(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    done = cli(
        "run", "--languages", "es", "--documents", documents, "--select", "raw_personas+,seed_documents", **reached
    )
    assert done.returncode == 0, done.stderr
    hop0 = Warehouse(tmp_path / "data" / "personas.duckdb").query(
        "select doc_id, count(*) as personas from raw_personas where hop = 0 group by doc_id"
    )
    assert hop0.height == DOCUMENTS
    assert set(hop0["personas"]) == {1}


def test_after_kill_9_only_requests_in_flight_are_repeated(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    endpoint.control(latency_s=0.15)
    command = [sys.executable, "-m", "persona_assets", "run", "--languages", "es", "--documents", str(documents)]
    command += ["--set", "llm.concurrency=4"]
    environment = {**os.environ, **reached}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        while sum(endpoint.stats()["answered"].values()) < DOCUMENTS // 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    killed = endpoint.stats()
    done = cli(*command[3:], **reached)
    assert done.returncode == 0, done.stderr
    after = endpoint.stats()
    asked_twice = [body for body, attempts in after["attempts"].items() if attempts > 1]
    assert len(asked_twice) <= killed["in_flight"] + 4
    assert len(asked_twice) <= 8
    (row,) = funnel_rows(Warehouse(tmp_path / "data" / "personas.duckdb"), ["es"])
    assert row["documents"] == DOCUMENTS
    assert imbalances(row) == []


def test_the_models_of_the_published_recipe_run_end_to_end(
    cli: Cli, documents: Path, reached: dict[str, str], tmp_path: Path, tiny_labse: Path
) -> None:
    models = ("--set", f"filters.language_model={TINY_GLOTLID}", "--set", f"dedup.embedder={tiny_labse}")
    done = cli("run", "--languages", "es", "--documents", documents, "--limit", "8", *models, **reached)
    assert done.returncode == 0, done.stderr
    store = Warehouse(tmp_path / "data" / "personas.duckdb")
    assert store.query("select distinct detected_lang from filtered_personas").rows() == [("spa_Latn",)]
    assert "embedding" in set(store.query("select distinct method from persona_edges")["method"])
    (row,) = funnel_rows(store, ["es"])
    assert imbalances(row) == []


def test_four_languages_in_four_processes_lose_nothing(
    documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "persona_assets", "run", "--languages", lang, "--limit", "5"],
            cwd=tmp_path,
            env={**os.environ, **reached},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for lang in ("es", "eu", "zh", "ar")
    ]
    failures = [process.communicate()[1] for process in started if process.wait() != 0]
    assert failures == []
    rows = funnel_rows(Warehouse(tmp_path / "data" / "personas.duckdb"))
    assert [row["lang"] for row in rows] == ["ar", "es", "eu", "zh"]
    assert all(row["documents"] == 5 and row["conversations"] > 0 and imbalances(row) == [] for row in rows)


def test_faults_that_pass_are_retried_and_the_rest_is_recorded(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    endpoint.control(error_500=0.1, error_429=0.1, retry_after_s=0.1, reset=0.05, invalid_content=0.2)
    done = cli("run", "--languages", "es", "--documents", documents, **reached)
    assert done.returncode == 0, done.stderr
    store = Warehouse(tmp_path / "data" / "personas.duckdb")
    (row,) = funnel_rows(store, ["es"])
    assert imbalances(row) == []
    assert row["replies_rejected"] > 0
    assert store.query("select max(attempts) from llm_answers").item() > 1


def test_a_stage_with_too_many_failures_keeps_the_old_partition_and_all_answers(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    command = ("run", "--languages", "es", "--documents", documents)
    assert cli(*command, "--limit", "10", **reached).returncode == 0
    before = exported(tmp_path / "data")
    endpoint.control(error_500=0.5)
    failed = cli(*command, "--set", "llm.max_attempts=1", **reached)
    assert "requests failed" in one_line(failed)
    assert exported(tmp_path / "data") == before
    endpoint.control(error_500=0.0)
    assert cli(*command, **reached).returncode == 0
    (row,) = funnel_rows(Warehouse(tmp_path / "data" / "personas.duckdb"), ["es"])
    assert row["documents"] == DOCUMENTS
    assert set(endpoint.stats()["answered"].values()) == {1}


@pytest.mark.parametrize(
    ("switches", "variables", "arguments", "said"),
    [
        ({}, {"OPENAI_API_KEY": "test-key-wrong"}, (), "refused the key (HTTP 401): check OPENAI_API_KEY"),
        ({}, {"OPENAI_API_KEY": "two\nlines"}, (), "OPENAI_API_KEY contains a line break"),
        ({}, {}, ("--model", "no-such-model"), "knows no model 'no-such-model'"),
        ({"structured_output": "none"}, {}, (), "set llm.structured_output to"),
        ({}, {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, (), "cannot be reached"),
        ({}, {"OPENAI_BASE_URL": "localhost:8000/v1"}, (), "is not an http(s) address"),
        ({}, {}, ("--languages", "xx"), "unknown language 'xx'"),
        ({}, {}, ("--set", "dedup.jacard=0.8"), "did you mean 'dedup.jaccard'?"),
        ({}, {}, ("--set", "dedup.jaccard=high"), "dedup.jaccard"),
        ({}, {}, ("--profile", "mpersona"), "did you mean 'mpersonas'?"),
        ({}, {}, ("--documents", "nothing-here-*.parquet"), "nothing-here-*.parquet"),
        ({}, {}, ("--select", "personas"), "names no asset"),
        ({}, {}, ("--set", "filters.language_model=glotlid"), "GlotLID is not on this machine"),
        ({}, {}, ("--set", "dedup.embedder=labse"), "hf download sentence-transformers/LaBSE"),
        ({}, {}, ("--profile", "demo", "--limit", "3", "--model", "other"), "the ledger holds no answer for"),
    ],
)
def test_a_fault_the_user_can_mend_is_one_line_that_says_how(
    cli: Cli,
    documents: Path,
    endpoint: Endpoint,
    reached: dict[str, str],
    tmp_path: Path,
    switches: dict[str, object],
    variables: dict[str, str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    endpoint.control(**switches)
    environment = {**reached, "HF_HUB_CACHE": str(tmp_path), **variables}
    failed = cli("run", "--languages", "es", "--documents", documents, *arguments, **environment)
    assert said in one_line(failed)
    assert "test-key" not in failed.stdout + failed.stderr


def test_documents_that_cannot_be_read_are_named(cli: Cli, tmp_path: Path, reached: dict[str, str]) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 this is no parquet file")
    assert "broken.parquet" in one_line(cli("run", "--languages", "es", "--documents", broken, **reached))
    pl.DataFrame({"content": ["x"]}).write_parquet(tmp_path / "other.parquet")
    said = one_line(cli("run", "--languages", "es", "--documents", tmp_path / "other.parquet", **reached))
    assert "text" in said
    assert "content" in said


def test_the_key_is_in_no_file_and_no_output(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
) -> None:
    done = cli("run", "--languages", "es", "--documents", documents, "--limit", "3", **reached)
    wrong = cli(
        "run", "--languages", "es", "--documents", documents, **{**reached, "OPENAI_API_KEY": "test-key-abcdefgh"}
    )
    assert wrong.returncode == 0 or "refused the key" in wrong.stderr
    assert "test-key" not in done.stdout + done.stderr + wrong.stdout + wrong.stderr
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and b"test-key" in path.read_bytes()]
    assert holding == []


def test_a_local_server_needs_no_key(cli: Cli, endpoint: Endpoint) -> None:
    failed = cli("run", "--languages", "es", "--limit", "1", OPENAI_BASE_URL=endpoint.base_url)
    assert "check OPENAI_API_KEY" in one_line(failed)  # this server does want one, and it says so
    missing = cli("run", "--languages", "es", "--limit", "1")
    assert "no key for api.openai.com: set OPENAI_API_KEY" in one_line(missing)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk up to `leave` bytes; returns the file that does."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"x" * (free - leave))
    return filler


def test_a_full_disk_is_told_before_anything_is_paid_for(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], small_disk: Path
) -> None:
    fill(small_disk, leave=20 * 2**20)
    refused = cli("run", "--languages", "es", "--documents", documents, "--home", small_disk / "home", **reached)
    assert "MiB free" in one_line(refused)
    assert endpoint.stats()["requests"] == 0


def test_a_disk_that_fills_up_while_running_is_one_line_and_keeps_the_answers(
    cli: Cli, documents: Path, endpoint: Endpoint, reached: dict[str, str], small_disk: Path
) -> None:
    endpoint.control(latency_s=0.3)
    command = ["run", "--languages", "es", "--documents", str(documents), "--home", str(small_disk / "home")]
    command += ["--set", "llm.concurrency=4"]
    with subprocess.Popen(
        [sys.executable, "-m", "persona_assets", *command],
        cwd=small_disk.parent,
        env={**os.environ, **reached},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while sum(endpoint.stats()["answered"].values()) < DOCUMENTS // 4:
            assert process.poll() is None
            time.sleep(0.05)
        filler = fill(small_disk)
        printed = process.communicate(timeout=120)
    assert "disk is full" in one_line(Finished(command, process.returncode, *printed))
    filler.unlink()
    done = cli(*command, **reached)
    assert done.returncode == 0, done.stderr
    repeated = [body for body, times in endpoint.stats()["answered"].items() if times > 1]
    assert len(repeated) <= 4  # those that were in flight when the disk was full


def test_a_read_only_home_is_one_line(cli: Cli, documents: Path, reached: dict[str, str], small_disk: Path) -> None:
    remounted = subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, check=False)
    assert remounted.returncode == 0
    failed = cli("run", "--languages", "es", "--documents", documents, "--home", small_disk / "home", **reached)
    assert "choose a folder with --home" in one_line(failed)


def test_real_spanish_documents_are_each_answered_once(
    cli: Cli, endpoint: Endpoint, reached: dict[str, str], shared_data: Path
) -> None:
    source = shared_data / "documents" / "es.parquet"
    done = cli("run", "--languages", "es", "--documents", source, "--limit", "300", "--json", **reached)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["documents"], imbalances(row)) == (300, [])
    assert set(endpoint.stats()["answered"].values()) == {1}
