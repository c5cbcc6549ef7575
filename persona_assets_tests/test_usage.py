"""`persona-assets usage`: sums over all ledgers, as a plain count over all answers gives them."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.ledger_usage import DIMENSIONS, ledger_usage
from persona_assets.llm.requests import Answer, Failure
from persona_assets.settings import PriceSettings
from persona_assets_tests.conftest import Cli

PRICES = PriceSettings(input=1.0, cached_input=0.25, output=4.0)
MODEL = "tiny"


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[str, str, str, Answer | Failure]:
    """Stage, language and day of an outcome, and the outcome under a key of its own."""
    stage, language = draw(st.sampled_from(["text_to_persona", "conversation"])), draw(st.sampled_from(["es", "zh"]))
    day, key = f"2026-11-0{draw(st.integers(1, 3))}", f"{draw(st.integers(0, 2**128 - 1)):032x}"
    at = f"{day}T23:59:59.999+00:00"
    attempts = draw(st.integers(1, 4))
    if draw(st.integers(0, 3)) == 0:
        kind = draw(st.sampled_from(["timeout", "http_400"]))
        return stage, language, day, Failure(key, kind, "no", attempts, permanent=False, failed_at=at)
    prompt = draw(st.none() | st.integers(1, 5000))
    cached = draw(st.none() | st.integers(0, 6000))
    latency = draw(st.none() | st.integers(0, 90_000).map(lambda ms: ms / 1000))
    model = draw(st.sampled_from([MODEL, f"{MODEL}-2026-07-18", f"{MODEL}-mini"]))
    answer = Answer(key, "text", "stop", 256, model, "host", prompt, cached, prompt, latency, attempts, at)
    return stage, language, day, answer


def store(folder: Path, drawn: list[tuple[str, str, str, Answer | Failure]]) -> None:
    for stage, language in {(stage, language) for stage, language, _, _ in drawn}:
        with open_ledger(folder, stage, language) as ledger:
            for entry in drawn:
                if entry[:2] == (stage, language):
                    ledger.record(entry[3])


def cost_of(answer: Answer) -> float:
    prompt = answer.prompt_tokens or 0
    cached = min(answer.cached_tokens or 0, prompt)
    return ((prompt - cached) * 1.0 + cached * 0.25 + (answer.completion_tokens or 0) * 4.0) / 1e6


def nearest_rank(values: list[float], share: float) -> float | None:
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(drawn=st.lists(outcomes(), max_size=40, unique_by=lambda entry: entry[3].key), by=st.permutations(DIMENSIONS))
def test_groups_are_what_a_plain_count_gives(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, str, Answer | Failure]], by: list[str]
):
    folder = tmp_path_factory.mktemp("ledger")
    store(folder, drawn)
    by = by[:2]
    expected: defaultdict[tuple[str | None, ...], list[Answer | Failure]] = defaultdict(list)
    for stage, language, day, outcome in drawn:
        model = outcome.model if isinstance(outcome, Answer) else None
        facts = {"stage": stage, "language": language, "day": day, "model": model}
        expected[tuple(facts[name] for name in by)].append(outcome)
    found = ledger_usage(folder, by, model=MODEL, prices=PRICES)
    assert {tuple(getattr(group, name) for name in by) for group in found.groups} == set(expected)
    for group in found.groups:
        of = expected[tuple(getattr(group, name) for name in by)]
        answers = [outcome for outcome in of if isinstance(outcome, Answer)]
        assert group.answers == len(answers)
        assert group.failures == Counter(outcome.kind for outcome in of if isinstance(outcome, Failure))
        assert group.failed == len(of) - len(answers)
        assert group.attempts == sum(outcome.attempts for outcome in of)
        assert group.prompt_tokens == group.completion_tokens == sum(answer.prompt_tokens or 0 for answer in answers)
        latencies = [answer.latency_s for answer in answers if answer.latency_s is not None]
        assert group.latency_p50_s == nearest_rank(latencies, 0.5)
        assert group.latency_p95_s == nearest_rank(latencies, 0.95)
        assert group.latency_p99_s == nearest_rank(latencies, 0.99)
        priced = [answer for answer in answers if answer.model != f"{MODEL}-mini"]
        assert group.cost == (pytest.approx(sum(map(cost_of, priced))) if priced else None)
    assert found.total.answers == sum(group.answers for group in found.groups)
    assert found.total.failed == sum(group.failed for group in found.groups)


def answered(key: int, **changed: object) -> Answer:
    usual = {"model": MODEL, "endpoint": "host", "answered_at": "2026-11-01T00:00:00+00:00"}
    return Answer(f"{key:032x}", "text", "stop", 256, **{**usual, **changed})


def test_what_is_in_no_sum_is_said(tmp_path: Path):
    kept = [
        ("conversation", "es", "", answered(1, prompt_tokens=10, completion_tokens=5)),
        ("conversation", "es", "", answered(2)),
        ("conversation", "es", "", answered(3, model="other")),
        ("conversation", "es", "", Failure(f"{4:032x}", "timeout", "no", 2, permanent=False)),
    ]
    store(tmp_path, kept)
    notes = "\n".join(ledger_usage(tmp_path, model=MODEL, prices=PRICES).notes)
    assert "the prices are those of tiny: 1 answers of other are in no cost" in notes
    assert "2 answers came without token counts" in notes
    assert "attempts without an answer may have cost something" in notes
    without = ledger_usage(tmp_path, model=MODEL)
    assert without.total.cost is None
    assert "no cost: the profile has no prices" in without.notes[0]


def test_the_command_prints_groups_and_total_of_every_ledger_of_the_home(cli: Cli, tmp_path: Path):
    drawn = [
        ("text_to_persona", "es", "", answered(1, prompt_tokens=1000, completion_tokens=100, latency_s=0.5)),
        ("conversation", "es", "", answered(2, prompt_tokens=2000, completion_tokens=500, latency_s=2.5)),
        ("conversation", "zh", "", Failure(f"{3:032x}", "timeout", "no", 6, permanent=False)),
    ]
    store(tmp_path / "data" / "ledger", drawn)
    profile = tmp_path / "priced.toml"
    profile.write_text(
        f'[llm]\nmodel = "{MODEL}"\nprice_per_million = {{input = 1.0, output = 4.0}}\n', encoding="utf-8"
    )
    done = cli("usage", "--profile", profile)
    assert done.returncode == 0, done.stderr
    assert "total" in done.stdout
    assert "failed, timeout: 1" in done.stdout
    told = json.loads(cli("usage", "--profile", profile, "--by", "language", "--json").stdout)
    assert [(group["language"], group["answers"], group["failures"]) for group in told["usage"]] == [
        ("es", 2, {}),
        ("zh", 0, {"timeout": 1}),
    ]
    assert told["total"]["cost"] == pytest.approx((3000 * 1.0 + 600 * 4.0) / 1e6)
    assert told["total"]["attempts"] == 8
    only = json.loads(cli("usage", "--languages", "zh", "--json").stdout)
    assert (only["total"]["answers"], only["total"]["cost"]) == (0, None)
    assert any("no prices" in note for note in only["notes"])
    wrong = cli("usage", "--by", "hour")
    assert wrong.returncode == 2
    assert "none of stage, language, model, day" in wrong.stderr


def test_a_home_without_a_ledger_has_used_nothing(cli: Cli):
    done = cli("usage", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total"]["answers"] == 0
