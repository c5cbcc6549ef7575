"""`dagster dev` from the folder of the project, as it is: it opens, materializes, and shares its history."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persona_assets.report.funnel import funnel_rows
from persona_assets.warehouse import Warehouse
from persona_assets_tests.conftest import PROJECT, command_line

STARTS_WITHIN_S = 120
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"


class WebUi:
    """A running `dagster dev` and its GraphQL endpoint."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def graphql(self, query: str, **variables: object) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def materialize(self, lang: str, *assets: str) -> str:
        selector = {
            "repositoryLocationName": "persona_assets",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        }
        tags = [{"key": "dagster/partition", "value": lang}]
        params = {"mode": "default", "selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": "{}"}
        launched = self.graphql(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def runs(self) -> dict[str, str]:
        return {run["runId"]: run["status"] for run in self.graphql(RUNS)["runsOrError"]["results"]}

    def wait_for(self, run_id: str, within_s: float = 120) -> str:
        deadline = time.monotonic() + within_s
        while (status := self.runs()[run_id]) not in ("SUCCESS", "FAILURE") and time.monotonic() < deadline:
            time.sleep(0.5)
        return status


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's Dagster files, where a user would start both programs."""
    place = tmp_path_factory.mktemp("project")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, place)
    return place


@pytest.fixture(scope="module")
def web_ui(folder: Path) -> Iterator[WebUi]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "PERSONA"))}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        ui = WebUi(port)
        _wait_until_ready(ui, process, folder / "log")
        yield ui
    finally:
        # Everything it started is in its session; the polite signal first, so that it removes its temporary home.
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(ui: WebUi, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            locations = ui.graphql("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except OSError:
            time.sleep(0.5)
            continue
        if locations["repositoriesOrError"].get("nodes"):
            return
        time.sleep(0.5)
    pytest.fail(f"dagster dev did not start within {STARTS_WITHIN_S} s:\n{log.read_text()}")


def test_one_partition_is_materialized_from_the_web_ui_without_any_variable_set(web_ui: WebUi, folder: Path) -> None:
    run_id = web_ui.materialize("zh", "seed_documents", "rejected_documents")
    assert web_ui.wait_for(run_id) == "SUCCESS"
    (row,) = funnel_rows(Warehouse(folder / "data" / "personas.duckdb"))
    assert (row["lang"], row["documents"], row["documents_rejected"]) == ("zh", 10, 2)


def test_the_demos_personas_are_materialized_from_the_web_ui_with_its_recorded_answers(
    web_ui: WebUi, folder: Path
) -> None:
    chain = ("seed_documents", "rejected_documents", "raw_personas", "rejected_replies")
    assert web_ui.wait_for(web_ui.materialize("eu", *chain)) == "SUCCESS"
    (row,) = funnel_rows(Warehouse(folder / "data" / "personas.duckdb"), ["eu"])
    assert row["raw"] > 40


def test_a_run_of_the_command_line_shows_in_the_web_ui(web_ui: WebUi, folder: Path) -> None:
    before = set(web_ui.runs())
    done = command_line("run", "--profile", "demo", "--languages", "ar", "--select", "seed_documents", cwd=folder)
    assert done.returncode == 0, done.stderr
    (new,) = set(web_ui.runs()) - before
    assert web_ui.runs()[new] == "SUCCESS"
