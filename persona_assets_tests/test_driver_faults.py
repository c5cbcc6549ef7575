import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from persona_assets.errors import EndpointError, ReplayMissError, TooManyFailuresError
from persona_assets.llm.failures import retry_failed
from persona_assets.llm.requests import Answer, Failure
from persona_assets_tests.driving import LANG, STAGE, Questions, answered, ask, model_for, question, stored
from persona_assets_tests.endpoint import KEY, Endpoint

MIXED = {
    "error_500": 0.05,
    "error_429": 0.05,
    "reset": 0.02,
    "hang": 0.02,
    "truncated_body": 0.02,
    "html": 0.01,
    "gigantic": 0.01,
    "gigantic_mib": 4,
    "retry_after_s": 0.2,
    "latency_s": 0.02,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with Endpoint() as running:
        yield running


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.reset()
    return server


def test_under_mixed_faults_every_request_is_answered_once_and_in_order(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(**MIXED)
    model = model_for(endpoint, tmp_path, timeout_s=1.0, max_reply_bytes=2**20)
    pairs = ask(model, Questions(600))
    assert [request.origin for request, _ in pairs] == [request.origin for request in Questions(600)]
    assert len(answered(pairs)) == 600
    assert len(stored(tmp_path)) == 600
    faults = endpoint.stats()["by_fault"]
    assert set(faults) >= {"error_500", "error_429", "reset", "hang", "truncated_body", "html", "gigantic"}
    assert max(endpoint.stats()["answered"].values()) == 1


def test_order_and_texts_do_not_depend_on_timing(endpoint: Endpoint, tmp_path: Path):
    texts = []
    for name, latency in (("slow", 0.05), ("fast", 0.0)):
        endpoint.control(latency_s=latency, error_500=0.1)
        pairs = ask(model_for(endpoint, tmp_path / name), Questions(100))
        texts.append([outcome.text for outcome in answered(pairs)])
    assert texts[0] == texts[1]


def test_requests_that_never_succeed_are_recorded_with_class_attempts_and_message(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(hang=1.0)
    model = model_for(endpoint, tmp_path, timeout_s=0.1, max_attempts=2, max_failed_share=1.0)
    ((_, outcome),) = ask(model, Questions(1))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.attempts, outcome.permanent) == ("timeout", 2, False)
    assert "0.1 s" in outcome.message


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset", "connection"),
        ("truncated_body", "malformed_response"),
        ("html", "malformed_response"),
        ("gigantic", "body_too_large"),
        ("error_500", "http_500"),
    ],
)
def test_each_fault_has_its_class(endpoint: Endpoint, tmp_path: Path, fault: str, kind: str):
    ask(model_for(endpoint, tmp_path), Questions(1))
    endpoint.control(**{fault: 1.0, "gigantic_mib": 2})
    model = model_for(endpoint, tmp_path, max_attempts=2, max_failed_share=1.0, max_reply_bytes=2**20)
    ((_, outcome),) = ask(model, Questions(1, first=1))
    assert isinstance(outcome, Failure)
    assert outcome.kind == kind


def test_a_gigantic_body_is_given_up_early(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(gigantic=1.0, gigantic_mib=2000)
    model = model_for(endpoint, tmp_path, max_attempts=1, max_failed_share=1.0, max_reply_bytes=2**20)
    started = time.monotonic()
    ((_, outcome),) = ask(model, Questions(1))
    assert isinstance(outcome, Failure)
    assert outcome.kind == "body_too_large"
    assert time.monotonic() - started < 4.0, "it was read to the end"


def test_a_poisoned_request_does_not_hold_up_the_others(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(context_length=400)
    poison = question(-1, "word " * 2000)
    pairs = ask(model_for(endpoint, tmp_path, concurrency=1), [poison, *Questions(30)])
    first = pairs[0][1]
    assert isinstance(first, Failure)
    assert (first.kind, first.attempts, first.permanent) == ("context_too_long", 1, True)
    assert len(answered(pairs)) == 30


def test_requests_that_wait_for_another_try_hold_no_place(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(error_429=0.3, retry_after_s=1.0, latency_s=0.01)
    started = time.monotonic()
    ask(model_for(endpoint, tmp_path, concurrency=2, max_attempts=20), Questions(60))
    # Were the places held, 18 waits of a second would go through two of them one after the other.
    assert time.monotonic() - started < 9.0


def test_retry_after_is_kept_to(endpoint: Endpoint, tmp_path: Path):
    for form in ("seconds", "date"):
        endpoint.reset()
        endpoint.control(fail_first=1, status=429, retry_after_s=2, retry_after_form=form)
        started = time.monotonic()
        assert len(answered(ask(model_for(endpoint, tmp_path / form), Questions(1)))) == 1
        # A date has whole seconds only.
        assert time.monotonic() - started >= (2.0 if form == "seconds" else 1.0)


def test_a_flood_of_refusals_stops_new_requests_for_the_time_named(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(error_429=1.0, retry_after_s=2.0)
    sent: list[int] = []

    def look() -> None:
        sent.append(endpoint.stats()["requests"])
        endpoint.control(error_429=0.0)

    timer = threading.Timer(1.5, look)
    timer.start()
    assert len(answered(ask(model_for(endpoint, tmp_path), Questions(40)))) == 40
    timer.join()
    assert sent[0] <= 16


def test_what_rate_headers_say_is_left_is_not_exceeded(endpoint: Endpoint, tmp_path: Path):
    ask(model_for(endpoint, tmp_path), Questions(1))
    endpoint.control(requests_per_window=20, window_s=0.5, latency_s=0.02)
    model = model_for(endpoint, tmp_path, concurrency=8)
    assert len(answered(ask(model, Questions(80)))) == 80
    assert endpoint.stats()["by_status"].get("429", 0) <= 16


def test_a_cap_on_requests_per_minute_is_kept(endpoint: Endpoint, tmp_path: Path):
    started = time.monotonic()
    ask(model_for(endpoint, tmp_path, requests_per_minute=1200), Questions(40))
    assert time.monotonic() - started >= (40 - 6) / 20


def test_a_rerun_asks_only_what_failed_for_a_while(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(error_500=0.5)
    first = ask(model_for(endpoint, tmp_path, max_attempts=1, max_failed_share=1.0), Questions(40))
    failed = 40 - len(answered(first))
    assert 0 < failed < 40
    endpoint.reset()
    assert len(answered(ask(model_for(endpoint, tmp_path), Questions(40)))) == 40
    assert endpoint.stats()["requests"] == failed


def test_retry_failed_makes_the_next_run_ask_exactly_the_failures(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(context_length=400)
    asked = [question(-1, "word " * 2000), question(-2, "word " * 2100), *Questions(60)]
    ask(model_for(endpoint, tmp_path), asked)
    endpoint.reset()
    ask(model_for(endpoint, tmp_path), asked)
    assert endpoint.stats()["requests"] == 0, "permanent failures are not asked again by themselves"
    assert retry_failed(tmp_path, ["es"]).total() == 0
    assert retry_failed(tmp_path, [LANG]) == {"context_too_long": 2}
    assert len(answered(ask(model_for(endpoint, tmp_path), asked))) == 62
    assert endpoint.stats()["requests"] == 2


def test_too_many_failures_stop_the_stage_with_their_classes(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(error_500=0.4)
    with pytest.raises(TooManyFailuresError, match=r"of 40 requests failed \(http_500 \d+; for example: .*500"):
        ask(model_for(endpoint, tmp_path, max_attempts=1), Questions(40))


def test_when_nothing_is_ever_answered_it_stops_early(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(context_length=10)
    with pytest.raises(TooManyFailuresError, match=r"first \d+ requests failed and none was answered"):
        ask(model_for(endpoint, tmp_path), Questions(5000))
    assert endpoint.stats()["requests"] < 200


def test_an_unknown_model_is_one_clear_line(endpoint: Endpoint, tmp_path: Path):
    with pytest.raises(EndpointError, match=r"knows no model 'gpt-9' .*check --model") as caught:
        ask(model_for(endpoint, tmp_path, model="gpt-9"), Questions(3, model="gpt-9"))
    assert "\n" not in str(caught.value)


def test_a_base_url_without_scheme_is_one_clear_line(endpoint: Endpoint, tmp_path: Path):
    with pytest.raises(EndpointError, match="is not an http"):
        ask(model_for(endpoint, tmp_path, base_url="localhost:8000/v1"), Questions(1))


def test_a_key_with_a_line_break_is_one_clear_line_without_the_key(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = model_for(endpoint, tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    with pytest.raises(EndpointError, match="line break") as caught:
        ask(model, Questions(1))
    assert KEY not in str(caught.value)


def test_no_key_reaches_messages_logs_or_the_ledger(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    wrong = "sk-proj-0123456789abcdefghijkl"
    model = model_for(endpoint, tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    with caplog.at_level(logging.DEBUG), pytest.raises(EndpointError, match="refused the key") as caught:
        ask(model, Questions(3))
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    said = " ".join(map(repr, chain)) + caplog.text + str(endpoint.stats())
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (wrong, wrong[:8] + "*", wrong[-6:]):
        assert secret not in said
        assert secret.encode() not in kept


def test_failures_that_quote_the_key_are_recorded_without_it(endpoint: Endpoint, tmp_path: Path):
    ask(model_for(endpoint, tmp_path), Questions(2))
    endpoint.control(html=1.0)
    ask(model_for(endpoint, tmp_path, max_attempts=1, max_failed_share=1.0), Questions(2, first=2))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in kept


def test_the_same_question_twice_in_a_stage_is_asked_once(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(latency_s=0.05)
    pairs = ask(model_for(endpoint, tmp_path), [*Questions(20), *Questions(20)])
    assert len(answered(pairs)) == 40
    assert endpoint.stats()["requests"] == 20


def test_requests_are_pulled_only_as_they_can_be_sent(endpoint: Endpoint, tmp_path: Path):
    ahead: list[int] = []

    class Watched(Questions):
        def __iter__(self):
            for number, request in enumerate(super().__iter__()):
                if number % 100 == 0 and len(ahead) < 30:
                    ahead.append(number - endpoint.stats()["requests"])
                yield request

    ask(model_for(endpoint, tmp_path, concurrency=8), Watched(3000))
    assert max(ahead) <= 300


def test_a_raised_token_limit_asks_again_only_for_answers_that_were_cut_off(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(length=0.3)
    pairs = ask(model_for(endpoint, tmp_path), Questions(40))
    cut = sum(answer.truncated for answer in answered(pairs))
    assert 0 < cut < 40
    endpoint.reset()
    again = ask(model_for(endpoint, tmp_path), Questions(40, max_tokens=512))
    assert endpoint.stats()["requests"] == cut
    assert not any(answer.truncated for answer in answered(again))


def test_an_endpoint_that_was_never_there_is_told_of_soon(endpoint: Endpoint, tmp_path: Path):
    with pytest.raises(EndpointError, match="cannot be reached"):
        ask(model_for(endpoint, tmp_path, base_url="http://127.0.0.1:9/v1"), Questions(100))


def test_replay_counts_what_is_missing_and_asks_nobody(endpoint: Endpoint, tmp_path: Path):
    ask(model_for(endpoint, tmp_path), Questions(10))
    replay = model_for(endpoint, tmp_path, engine="replay")
    assert all(isinstance(outcome, Answer) for _, outcome in ask(replay, Questions(10)))
    with pytest.raises(ReplayMissError, match="no answer for 5 of 15 requests"):
        ask(replay, Questions(15))
    assert (tmp_path / "pending" / LANG / f"{STAGE}.jsonl").read_text().count("\n") == 5
