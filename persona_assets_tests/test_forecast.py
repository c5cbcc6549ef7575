"""`persona-assets estimate`: what a run then really asks and uses lies in the forecast, and nothing is asked for it."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_assets.home import Home
from persona_assets.languages import language
from persona_assets.llm.forecast import LanguageInput, StageInput, forecast_run
from persona_assets.llm.ledger_usage import ledger_usage
from persona_assets.llm.token_estimates import calibrated, prompt_bytes, prompt_tokens, reply_tokens, script_of
from persona_assets.ranges import Range, mean_of, share_of
from persona_assets.report.outlook import STAGES, outlook_of
from persona_assets.seeds.census import take_census
from persona_assets.settings import LlmSettings, PriceSettings, SeedSettings, load_profile
from persona_assets_tests.conftest import Cli
from persona_assets_tests.driving import question
from persona_assets_tests.endpoint import Endpoint

PRICED = ("--set", "llm.price_per_million={input = 1.0, cached_input = 0.5, output = 4.0}")
PRICES = PriceSettings(input=1.0, cached_input=0.5, output=4.0)
LANGUAGES = ("es", "zh")


@pytest.fixture
def reached(endpoint: Endpoint) -> dict[str, str]:
    return {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": endpoint.key}


def within(value: float, found: Mapping[str, float]) -> bool:
    return found["low"] <= value <= found["high"]


def estimated(cli: Cli, *arguments: str | Path, **environment: str) -> dict[str, Any]:
    done = cli("estimate", "--json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def asked_of(home: Path, *by: str) -> dict[tuple[str, ...], Any]:
    used = ledger_usage(home / "ledger", by or ("language", "stage"), model="gpt-4o-mini", prices=PRICES)
    return {tuple(getattr(group, name) for name in by or ("language", "stage")): group for group in used.groups}


def test_a_forecast_brackets_what_the_run_then_uses_and_asks_nothing(
    cli: Cli, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
):
    command = ("--languages", ",".join(LANGUAGES), *PRICED)
    before = estimated(cli, *command, **reached)
    assert endpoint.stats()["requests"] == 0
    assert not (tmp_path / "data").exists()
    done = cli("run", *command, "--json", **reached)
    assert done.returncode == 0, done.stderr
    rows = {row["lang"]: row for row in json.loads(done.stdout)}

    used = asked_of(tmp_path / "data")
    for forecast in before["languages"]:
        lang = forecast["lang"]
        text = forecast["stages"]["text_to_persona"]
        assert set(text["requests"].values()) == {rows[lang]["documents"]}
        assert within(rows[lang]["deduplicated"], forecast["kept_personas"])
        assert within(rows[lang]["conversations"], forecast["conversations"])
        for stage in STAGES:
            name = "persona_to_persona 1" if stage == "persona_to_persona" else stage
            found, group = forecast["stages"][name], used[lang, stage]
            assert within(group.answers, found["asked"])
            assert within(group.prompt_tokens, found["prompt_tokens"])
            assert within(group.completion_tokens, found["completion_tokens"])
            assert within(group.cost, found["cost"])
    total = ledger_usage(tmp_path / "data" / "ledger", (), model="gpt-4o-mini", prices=PRICES).total
    assert total.answers == endpoint.stats()["requests"]
    assert within(total.answers, before["total"]["total"]["asked"])
    assert within(total.cost or 0, before["total"]["total"]["cost"])

    # What has been made is known: the same requests again, and none of them to be asked.
    after = estimated(cli, *command, **reached)
    for forecast in after["languages"]:
        requests = {name: stage["requests"]["expected"] for name, stage in forecast["stages"].items()}
        assert requests.pop("asked_again") == 0
        assert sum(requests.values()) == sum(used[forecast["lang"], stage].answers for stage in STAGES)
        assert forecast["total"]["asked"]["expected"] == 0
        assert set(forecast["stages"]["text_to_persona"]["asked"].values()) == {0}
        assert forecast["kept_personas"]["expected"] == rows[forecast["lang"]]["deduplicated"]
    assert endpoint.stats()["requests"] == total.answers


def test_a_sample_says_what_it_may_cost_asks_what_the_run_needs_and_narrows_the_forecast(
    cli: Cli, endpoint: Endpoint, reached: dict[str, str], tmp_path: Path
):
    command = ("--languages", "es", *PRICED)
    before = estimated(cli, *command, **reached)
    done = cli("estimate", "--json", "--sample", "4", *command, **reached)
    assert done.returncode == 0, done.stderr
    first, *_, last = [line for line in done.stderr.splitlines() if line.startswith("Sample: ")]
    assert first.startswith("Sample: at most 12 requests of ")
    asked = endpoint.stats()["requests"]
    assert 4 < asked <= 12
    assert last.startswith(f"Sample: {asked} requests asked")
    most, spent = float(first.split()[-1].rstrip(".")), float(last.split()[-1])
    assert 0 < spent <= most

    after = json.loads(done.stdout)
    for figure in ("tokens", "cost"):
        assumed, known = before["total"]["per_conversation"][figure], after["total"]["per_conversation"][figure]
        assert known["high"] - known["low"] < 0.7 * (assumed["high"] - assumed["low"])
    text = after["languages"][0]["stages"]["text_to_persona"]
    assert set(text["asked"].values()) == {text["requests"]["expected"] - 4}

    run = cli("run", "--json", *command, **reached)
    assert run.returncode == 0, run.stderr
    used = ledger_usage(tmp_path / "data" / "ledger", (), model="gpt-4o-mini", prices=PRICES).total
    assert set(endpoint.stats()["answered"].values()) == {1}  # nothing is paid for twice
    assert within(used.answers, after["total"]["total"]["requests"])
    assert within((used.cost or 0) - spent, after["total"]["total"]["cost"])


def test_a_sample_that_would_pass_the_profiles_budget_stops_there(
    cli: Cli, endpoint: Endpoint, reached: dict[str, str]
):
    done = cli("estimate", "--languages", "es", "--sample", "5", "--set", "budget.max_requests=3", *PRICED, **reached)
    assert done.returncode == 0, done.stderr
    assert "the sample ended early" in done.stderr
    assert endpoint.stats()["requests"] == 3


def test_what_is_not_known_is_said(cli: Cli, tmp_path: Path):
    documents = tmp_path / "few.jsonl"
    lines = (json.dumps({"text": f"El número {n} de la revista del barrio: " + "texto " * 30}) for n in range(7))
    documents.write_text("\n".join(lines), encoding="utf-8")
    done = cli("estimate", "--languages", "es", "--documents", documents, "--limit", "50")
    assert done.returncode == 0, done.stderr
    assert "only 7 of 50 documents" in done.stdout
    assert "no cost: the profile has no prices" in done.stdout
    assert "assumed" in done.stdout
    none = cli("estimate", "--languages", "es", "--documents", documents, "--set", "seeds.min_chars=5000")
    assert none.returncode == 1
    assert "error: es: no document passes the settings" in none.stderr


def test_a_replay_costs_nothing(cli: Cli):
    found = estimated(cli, "--profile", "demo", "--languages", "eu")
    assert set(found["total"]["total"]["asked"].values()) == {0}
    assert found["total"]["total"]["requests"]["low"] > 0
    assert any("asks nobody" in ground for ground in found["grounds"])


def test_a_large_source_elsewhere_is_only_sampled():
    memory = fsspec.filesystem("memory")
    lines = [json.dumps({"text": f"Documento {n}: " + "la ría estaba tranquila " * 10}) for n in range(5000)]
    memory.pipe("/census/es.jsonl", "\n".join(lines).encode())
    census = take_census(SeedSettings(documents="memory://census/es.jsonl", limit=3000), language("es"))
    assert census.documents.height == 100
    assert census.number == Range(100, 3000, 3000)
    assert "assumed that the source has 3000 documents" in census.remark


def test_answers_of_another_model_are_no_measure(cli: Cli, reached: dict[str, str], tmp_path: Path):
    assert cli("run", "--languages", "es", "--limit", "3", **reached).returncode == 0
    profile = load_profile("quickstart", {"llm.model": "another-model"})
    outlook = outlook_of(profile, Home(tmp_path / "data"), language("es"))
    assert outlook.given.text.answered == Range.exactly(0.0)
    assert any("the database is of gpt-4o-mini" in ground for ground in outlook.grounds)


def ranges(lowest: float, highest: float) -> st.SearchStrategy[Range]:
    three = st.tuples(*[st.floats(lowest, highest)] * 3)
    return three.map(lambda values: Range(*sorted(values)))


STAGE = st.builds(
    StageInput,
    prompt_tokens=ranges(1, 2000),
    completion_tokens=ranges(1, 2000),
    latency_s=ranges(0.1, 60),
    in_flight=ranges(1, 256),
    cached_share=st.floats(0, 1),
    answered=ranges(0, 1),
)
INPUT = st.builds(
    LanguageInput,
    lang=st.just("es"),
    documents=ranges(1, 5000),
    requests_per_document=st.integers(1, 4),
    reply_yield=ranges(0.1, 3),
    text=STAGE,
    hops=st.integers(0, 3),
    related=STAGE,
    related_yield=ranges(0.1, 3),
    parent_share=ranges(0.1, 1),
    parents_per_hop=st.none() | st.integers(1, 500),
    requests_per_parent=st.integers(1, 3),
    keep=ranges(0.1, 1),
    conversation=STAGE,
    conversations_per_persona=st.integers(1, 3),
    conversation_yield=ranges(0.1, 1),
    reask=ranges(0, 0.2),
)


def drawn(value: Any, data: st.DataObject) -> Any:
    """The same with every range replaced by one value within it."""
    if isinstance(value, Range):
        return Range.exactly(min(max(data.draw(st.floats(value.low, value.high)), value.low), value.high))
    if isinstance(value, StageInput | LanguageInput):
        return replace(value, **{each.name: drawn(getattr(value, each.name), data) for each in fields(value)})
    return value


@given(given_input=INPUT, data=st.data(), caps=st.booleans())
def test_whatever_happens_within_the_inputs_lies_within_the_forecast(
    given_input: LanguageInput, data: st.DataObject, caps: bool
):
    llm = LlmSettings(requests_per_minute=60, tokens_per_minute=10_000) if caps else LlmSettings()
    found = forecast_run([given_input], llm, PRICES).total
    happened = forecast_run([drawn(given_input, data)], llm, PRICES).total

    def inside(outer: Range | None, inner: Range | None) -> bool:
        assert outer is not None
        assert inner is not None
        slack = 1e-6 * (1 + abs(outer.high))
        return outer.low - slack <= inner.low and inner.high <= outer.high + slack

    assert inside(found.kept_personas, happened.kept_personas)
    assert inside(found.conversations, happened.conversations)
    for name in ("requests", "asked", "prompt_tokens", "completion_tokens", "cost", "hours"):
        assert inside(getattr(found.total, name), getattr(happened.total, name)), name
    assert found.per_conversation is not None
    assert happened.per_conversation is not None
    assert found.total.cost is not None
    assert found.total.cost.low <= found.total.cost.expected <= found.total.cost.high


def test_two_languages_add_up():
    stage = StageInput(Range(90, 100, 120), Range(9, 10, 12), Range(1, 1, 1), Range(8, 8, 8))
    known = Range.exactly(1.0)
    one = LanguageInput(
        "es", Range.exactly(10), 2, known, stage, 1, stage, known, known, None, 1, Range(0.5, 0.8, 1.0), stage, 1,
        known, Range.exactly(0.0),
    )  # fmt: skip
    forecast = forecast_run([one, replace(one, lang="eu")], LlmSettings(), None)
    assert forecast.total.total.requests == Range(2 * 60, 2 * 72, 2 * 80)
    assert forecast.total.total.cost is None
    assert forecast.total.kept_personas == Range(40, 64, 80)
    # 40 requests of 110 tokens for 32 personas; a conversation has its own request, and its share of the others.
    assert forecast.total.per_kept_persona is not None
    assert forecast.total.per_kept_persona.tokens.expected == pytest.approx(40 * 110 / 32)
    assert forecast.total.per_conversation is not None
    assert forecast.total.per_conversation.tokens.expected == pytest.approx(72 * 110 / 32)


def test_batches_take_up_to_a_day_for_each_stage():
    stage = StageInput(Range.exactly(100), Range.exactly(10), Range.exactly(1), Range.exactly(8))
    known = Range.exactly(1.0)
    one = LanguageInput(
        "es", Range.exactly(10), 1, known, stage, 2, stage, known, known, None, 1, known, stage, 1, known,
        Range.exactly(0.0),
    )  # fmt: skip
    hours = forecast_run([one], LlmSettings(engine="openai_batch"), None).total.total.hours
    assert hours.high == 4 * 24.0


def test_the_endpoints_own_counts_replace_what_is_assumed_of_a_script():
    assumed = script_of("Latn").bytes_per_token
    measured = calibrated([(400, 100)] * 200)
    assert measured is not None
    assert measured.expected == pytest.approx(4.0)
    assert measured.high - measured.low < (assumed.high - assumed.low) / 3
    assert calibrated([]) is None
    assert calibrated([(10, 0)]) is None
    asked = question(1, "texto " * 100)
    rough = prompt_tokens(prompt_bytes(asked), asked, assumed, calibrated=False)
    exact = prompt_tokens(prompt_bytes(asked), asked, measured, calibrated=True)
    assert rough.low < exact.low < exact.high < rough.high


@pytest.mark.parametrize("script", ["Latn", "Hani", "Arab", "Cyrl", "Xxxx"])
def test_no_reply_is_longer_than_it_may_be_and_conversations_grow_with_their_exchanges(script: str):
    rate = script_of(script).bytes_per_token
    one = reply_tokens("conversation", script, rate, exchanges=1, max_tokens=100_000)
    three = reply_tokens("conversation", script, rate, exchanges=3, max_tokens=100_000)
    assert three.expected == pytest.approx(3 * one.expected)
    assert reply_tokens("conversation", script, rate, exchanges=3, max_tokens=100).high == 100


@given(part=st.integers(0, 1000), more=st.integers(0, 1000))
def test_a_share_seen_often_is_known_better(part: int, more: int):
    whole = part + more + 1
    found = share_of(part, whole)
    assert 0 <= found.low <= found.expected <= found.high <= 1
    assert found.high - found.low <= share_of(part // 10, whole // 10 + 1).high + 1e-9
    assert mean_of(100.0, 20.0, 1000).high < mean_of(100.0, 20.0, 10).high
