"""`doctor`: what is missing, and what to do about it."""

import json
from pathlib import Path

from persona_assets_tests.conftest import Cli, Finished
from persona_assets_tests.endpoint import Endpoint


def findings(finished: Finished) -> dict[str, tuple[bool, str]]:
    return {entry["what"]: (entry["ok"], entry["detail"]) for entry in json.loads(finished.stdout)}


def test_a_machine_that_has_all_a_run_needs_is_well(cli: Cli, endpoint: Endpoint) -> None:
    reached = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": endpoint.key}
    healthy = cli("doctor", "--json", **reached)
    assert healthy.returncode == 0, healthy.stdout
    assert all(ok for ok, _ in findings(healthy).values())
    assert endpoint.key not in healthy.stdout + cli("doctor", **reached).stdout


def test_what_the_published_recipe_needs_and_is_missing_is_named_with_the_remedy(cli: Cli, tmp_path: Path) -> None:
    ill = cli("doctor", "--profile", "mpersonas", "--json", HF_HUB_CACHE=str(tmp_path))
    assert ill.returncode == 1
    found = findings(ill)
    assert found["language identification"][0] is False
    assert "hf download cis-lmu/glotlid" in found["language identification"][1]
    assert "hf download sentence-transformers/LaBSE" in found["embeddings"][1]
    assert "DEEPSEEK_API_KEY" in found["endpoint and key"][1]
    assert found["python"][0] is True


def test_an_endpoint_that_is_down_refuses_the_key_or_lacks_the_model_is_told(cli: Cli, endpoint: Endpoint) -> None:
    def told(base_url: str, key: str, *knobs: str) -> str:
        done = cli("doctor", "--json", *knobs, OPENAI_BASE_URL=base_url, OPENAI_API_KEY=key)
        assert done.returncode == 1
        return findings(done)["answer of the endpoint"][1]

    assert "cannot be reached" in told("http://127.0.0.1:9/v1", "test-key")
    assert "check OPENAI_API_KEY" in told(endpoint.base_url, "test-key-wrong")
    endpoint.control(models="tiny")
    assert "lists no model 'gpt-4o-mini' but tiny" in told(endpoint.base_url, endpoint.key)


def test_a_key_in_dotenv_is_read_and_the_shell_wins(cli: Cli, endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={endpoint.key}\n", encoding="utf-8")
    assert cli("doctor", OPENAI_BASE_URL=endpoint.base_url).returncode == 0
    assert cli("doctor", OPENAI_BASE_URL=endpoint.base_url, OPENAI_API_KEY="test-key-wrong").returncode == 1


def test_the_demo_needs_neither_key_nor_endpoint(cli: Cli) -> None:
    assert cli("doctor", "--profile", "demo").returncode == 0
