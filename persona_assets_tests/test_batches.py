"""Answers from a provider's batch API, against a local server of that API."""

import dataclasses
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from persona_assets.errors import BudgetReachedError, EndpointError, TooManyFailuresError
from persona_assets.llm.batches import answer_by_batches
from persona_assets.llm.driver import Drive, outcomes
from persona_assets.llm.engines.replay import ReplayEngine
from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.prices import discounted
from persona_assets.llm.progress import Tally
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.llm.spending import Purse
from persona_assets.settings import BudgetSettings, LlmSettings
from persona_assets_tests.batch_endpoint import KEY, LANG, STAGE, BatchEndpoint, batch_settings, question

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_TEST_KEY", KEY)


@pytest.fixture
def server() -> Iterator[BatchEndpoint]:
    with BatchEndpoint() as running:
        yield running


def questions(count: int) -> list[Request]:
    return [question(number) for number in range(count)]


def run(
    server: BatchEndpoint,
    folder: Path,
    requests: list[Request],
    *,
    purse: Purse | None = None,
    settings: LlmSettings | None = None,
    **batch: Any,
) -> tuple[Tally, list[Outcome]]:
    with open_ledger(folder, STAGE, LANG) as ledger:
        used = settings or batch_settings(server.base_url, **batch)
        tally = answer_by_batches(requests, Drive(ledger, ReplayEngine(), used, STAGE, LANG, purse))
        return tally, [outcome for _, outcome in outcomes(requests, ledger)]


def stored(folder: Path, requests: list[Request]) -> dict[str, Outcome]:
    with open_ledger(folder, STAGE, LANG) as ledger:
        return ledger.lookup(requests)


def test_every_request_comes_back_as_an_answer_of_its_own(server: BatchEndpoint, tmp_path: Path):
    tally, found = run(server, tmp_path, questions(25))
    assert (tally.answered, tally.from_ledger, tally.done) == (25, 0, 25)
    for request, outcome in zip(questions(25), found, strict=True):
        assert isinstance(outcome, Answer)
        assert outcome.key == request.key
        assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.max_tokens) == (100, 10, 300)
        assert outcome.text.endswith("}\u2028")
        assert outcome.endpoint == server.base_url.removeprefix("http://").removesuffix("/v1") + " batch"
        assert outcome.latency_s is None
    assert not [name for name in server.files if name.startswith("file-")], "the input file was not deleted"


def test_answers_of_the_ledger_are_not_submitted_again(server: BatchEndpoint, tmp_path: Path):
    run(server, tmp_path, questions(5))
    tally, _ = run(server, tmp_path, questions(8))
    assert (tally.from_ledger, tally.answered) == (5, 3)
    assert set(server.paid.values()) == {1}
    calls = server.calls.total()
    run(server, tmp_path, questions(8))
    assert server.calls.total() == calls


def test_batches_keep_to_the_limits_on_requests_and_bytes(server: BatchEndpoint, tmp_path: Path):
    run(server, tmp_path / "requests", questions(25), max_requests=10)
    assert [len(batch.keys) for batch in server.batches.values()] == [10, 10, 5]
    server.batches.clear()
    run(server, tmp_path / "bytes", questions(25), max_megabytes=0.002)
    assert len(server.batches) > 3
    assert sum(len(batch.keys) for batch in server.batches.values()) == 25


def test_the_same_question_twice_is_asked_once(server: BatchEndpoint, tmp_path: Path):
    _, found = run(server, tmp_path, [*questions(3), *questions(3)])
    assert len(found) == 6
    assert set(server.paid.values()) == {1}


def test_what_an_expired_batch_has_answered_is_kept_and_only_the_rest_is_resubmitted(tmp_path: Path):
    def fate(batch: int, position: int) -> str:
        return "answer" if batch or position % 3 == 0 else ("expire", "lose")[position % 3 - 1]

    with BatchEndpoint(fate=fate, end=lambda batch: "completed" if batch else "expired") as server:
        tally, found = run(server, tmp_path, questions(12))
        assert [len(batch.keys) for batch in server.batches.values()] == [12, 8]
    assert tally.answered == 12
    assert all(isinstance(outcome, Answer) for outcome in found)


def test_a_request_that_expires_every_time_is_a_failure_that_the_next_run_asks_again(tmp_path: Path):
    with BatchEndpoint(fate=lambda batch, position: "answer" if position else "expire") as server:
        settings = batch_settings(server.base_url, max_rounds=2).model_copy(update={"max_failed_share": 0.5})
        tally, found = run(server, tmp_path, questions(4), settings=settings)
        assert server.paid[question(0).key] == 2
        assert tally.failed == {"batch_expired": 1}
        failure = found[0]
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.permanent, failure.attempts) == ("batch_expired", False, 2)
        server.plan.fate = lambda batch, position: "answer"
        tally, _ = run(server, tmp_path, questions(4))
        assert (tally.from_ledger, tally.answered) == (3, 1)


def test_error_lines_are_failures_if_the_request_is_at_fault_and_resubmitted_if_the_server_is(tmp_path: Path):
    with BatchEndpoint(
        fate=lambda batch, position: "answer" if batch else ("400", "500", "429")[position % 3]
    ) as server:
        settings = batch_settings(server.base_url).model_copy(update={"max_failed_share": 0.5})
        tally, found = run(server, tmp_path, questions(6), settings=settings)
        assert [len(batch.keys) for batch in server.batches.values()] == [6, 4]
        kinds = [outcome.kind if isinstance(outcome, Failure) else "answer" for outcome in found]
        assert kinds == ["http_400", "answer", "answer"] * 2
        assert tally.failed == {"http_400": 2}
        # A refused request stays refused.
        run(server, tmp_path, questions(6), settings=settings)
        assert len(server.batches) == 2


def test_too_many_failures_stop_the_stage_and_keep_the_answers(tmp_path: Path):
    with BatchEndpoint(fate=lambda batch, position: "answer" if position else "400") as server:
        with pytest.raises(TooManyFailuresError, match=r"1 of 4 requests failed \(http_400 1\)"):
            run(server, tmp_path, questions(4))
        assert len(stored(tmp_path, questions(4))) == 4


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("plan", "moment"),
    [
        ({"hold": True}, lambda server: server.calls["GET /v1/batches/{id}"] >= 8),
        ({"hold": True, "stall_at": 2}, lambda server: len(server.batches) == 3),
        ({}, lambda server: server.calls["GET /v1/files/{id}/content"] >= 1),
    ],
    ids=["while polling", "while submitting", "while merging"],
)
def test_a_killed_run_is_taken_up_again_without_paying_twice(
    plan: dict[str, Any], moment: Callable[[BatchEndpoint], bool], tmp_path: Path
):
    with BatchEndpoint(**plan) as server:
        command = [sys.executable, "-m", "persona_assets_tests.batch_endpoint", server.base_url, str(tmp_path), "35"]
        process = subprocess.Popen(command, cwd=PROJECT)
        try:
            wait_until(lambda: moment(server) or process.poll() is not None)
        finally:
            process.kill()
            process.wait()
        before = set(server.paid)
        assert before
        server.plan.hold, server.plan.stall_at = False, None
        tally, found = run(server, tmp_path, questions(35), max_requests=10)
        assert all(isinstance(outcome, Answer) for outcome in found)
        assert tally.done == 35
        assert set(server.paid.values()) == {1}
        assert not list(tmp_path.glob(f"{LANG}/.*")), "files of the killed run are left"


def test_a_batch_whose_creation_was_not_confirmed_is_found_and_not_created_again(tmp_path: Path):
    with BatchEndpoint(lose_created=1) as server:
        for name in ("older", "old", "other"):
            run(server, tmp_path / name, questions(1))
        server.paid.clear()
        server.plan.lose_created = 1
        tally, _ = run(server, tmp_path / "now", questions(7))
        assert tally.answered == 7
        assert set(server.paid.values()) == {1}


def test_a_batch_that_was_created_just_before_the_end_is_found_by_the_next_run(server: BatchEndpoint, tmp_path: Path):
    server.plan.lose_created = 1
    impatient = batch_settings(server.base_url).model_copy(update={"outage_patience_s": 0.0})
    with pytest.raises(EndpointError, match="cannot be reached"):
        run(server, tmp_path, questions(4), settings=impatient)
    assert len(server.batches) == 1
    tally, _ = run(server, tmp_path, questions(4))
    assert tally.answered == 4
    assert len(server.batches) == 1


def test_faults_on_the_way_are_waited_out(tmp_path: Path):
    with BatchEndpoint(drop_uploads=1, fail_looks=2, damage_downloads=1) as server:
        tally, _ = run(server, tmp_path, questions(9))
        assert tally.answered == 9
        assert set(server.paid.values()) == {1}


def test_answers_that_came_back_for_an_earlier_question_are_kept_too(server: BatchEndpoint, tmp_path: Path):
    server.plan.lose_created = 1
    impatient = batch_settings(server.base_url).model_copy(update={"outage_patience_s": 0.0})
    with pytest.raises(EndpointError):
        run(server, tmp_path, questions(4), settings=impatient)
    run(server, tmp_path, [question(77)])
    assert len(stored(tmp_path, questions(4))) == 4


def test_a_batch_refused_as_a_whole_says_why(tmp_path: Path):
    with BatchEndpoint(end=lambda batch: "failed") as server:
        with pytest.raises(EndpointError, match=r"refused batch batch-0 as a whole: the file is wrong \(line 3\)"):
            run(server, tmp_path, questions(4))
        assert len(server.batches) == 1


def test_a_full_queue_is_waited_for_while_other_batches_come_back(tmp_path: Path):
    with BatchEndpoint(end=lambda batch: "failed" if batch in (1, 2, 4) else "completed") as server:
        server.plan.fault = "token_limit_exceeded"
        tally, found = run(server, tmp_path, questions(30), max_requests=10, max_rounds=2)
        assert tally.answered == 30
        assert all(isinstance(outcome, Answer) for outcome in found)
        server.plan.end = lambda batch: "failed"
        with pytest.raises(EndpointError, match=r"lower llm\.batch\.max_requests"):
            run(server, tmp_path, questions(40))


def test_a_cancelled_batch_keeps_its_answers_and_is_not_resubmitted_in_the_same_run(tmp_path: Path):
    with BatchEndpoint(
        end=lambda batch: "cancelled", fate=lambda batch, position: ("answer", "lose")[position % 2]
    ) as server:
        with pytest.raises(EndpointError, match="was cancelled"):
            run(server, tmp_path, questions(6))
        assert len(server.batches) == 1
        assert len(stored(tmp_path, questions(6))) == 3


def test_an_endpoint_without_batches_and_a_wrong_key_are_one_line_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with BatchEndpoint(without_batches=True) as server:
        with pytest.raises(EndpointError, match=r'has no batch API .* set llm\.engine to "openai"'):
            run(server, tmp_path, questions(2))
        monkeypatch.setenv("BATCH_TEST_KEY", "sk-wrong-0123456789")
        with pytest.raises(EndpointError, match=r"refused the key \(HTTP 401\): check BATCH_TEST_KEY") as refusal:
            run(server, tmp_path, questions(2))
    assert "0123456789" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_nobody_listening_is_said_soon(tmp_path: Path):
    with BatchEndpoint() as server:
        pass
    with pytest.raises(EndpointError, match="cannot be reached"):
        run(server, tmp_path, questions(2))


def test_batches_under_way_elsewhere_are_not_forgotten(server: BatchEndpoint, tmp_path: Path):
    server.plan.lose_created = 1
    impatient = batch_settings(server.base_url).model_copy(update={"outage_patience_s": 0.0})
    with pytest.raises(EndpointError):
        run(server, tmp_path, questions(4), settings=impatient)
    with BatchEndpoint() as other, pytest.raises(EndpointError, match=r"set llm\.base_url back"):
        run(other, tmp_path, questions(4))


def test_the_budget_holds_and_what_was_submitted_is_collected(server: BatchEndpoint, tmp_path: Path):
    purse = Purse(BudgetSettings(max_requests=6))
    with pytest.raises(BudgetReachedError):
        run(server, tmp_path, questions(10), purse=purse)
    assert len(stored(tmp_path, questions(10))) == 6
    assert purse.spending.spent().requests == 6
    # Nothing stays set aside: tokens cost less than was feared, and make room for further requests.
    frugal = Purse(BudgetSettings(max_tokens=10 * 110 + 700))
    tally, _ = run(server, tmp_path / "again", questions(10), purse=frugal)
    assert tally.answered == 10
    assert frugal.spending.spent().tokens == 10 * 110


def test_what_was_set_aside_for_a_request_that_did_not_come_back_is_free_again(tmp_path: Path):
    most = Purse().at_most(question(0)).tokens
    with BatchEndpoint(fate=lambda batch, position: "answer" if batch else "lose") as server:
        tally, _ = run(server, tmp_path, questions(1), purse=Purse(BudgetSettings(max_tokens=most)))
        assert tally.answered == 1


def test_batches_cost_the_share_of_the_price_that_the_profile_states():
    prices = {"input": 1.0, "cached_input": 0.5, "output": 4.0}
    settings = LlmSettings.model_validate({"engine": "openai_batch", "price_per_million": prices})
    halved = discounted(settings)
    assert halved is not None
    assert (halved.input, halved.cached_input, halved.output) == (0.5, 0.25, 2.0)
    assert discounted(settings.model_copy(update={"engine": "openai"})) == settings.price_per_million


def test_the_submission_is_logged_with_the_identifier_of_the_batch(
    server: BatchEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, logger="persona_assets"):
        run(server, tmp_path, questions(3))
    assert "batch batch-0 with 3 requests is submitted" in caplog.text
    assert "batch batch-0 is completed, with results for 3 of 3 requests" in caplog.text


def test_a_raised_token_limit_is_that_of_the_answer_when_it_was_asked(server: BatchEndpoint, tmp_path: Path):
    run(server, tmp_path, questions(1))
    roomier = dataclasses.replace(question(0), max_tokens=900)
    assert roomier.key == question(0).key
    tally, _ = run(server, tmp_path, [roomier])
    assert tally.from_ledger == 1
