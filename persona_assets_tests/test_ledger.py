import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_assets.errors import LedgerError
from persona_assets.llm.driver import outcomes
from persona_assets.llm.ledger import Ledger, ledger_path, open_ledger, read_ledger
from persona_assets.llm.requests import Answer, Failure, Message, Request, ResponseFormat
from persona_assets_tests.driving import LANG, STAGE, Questions, integrity, question


def answer_to(request: Request, **changed: object) -> Answer:
    base = Answer(request.key, "a reply", "stop", request.max_tokens, "tiny", "host", answered_at="2026-01-01T00:00:00")
    return replace(base, **changed)


def failure_of(request: Request, *, permanent: bool) -> Failure:
    return Failure(request.key, "http_400", "no", 1, permanent, "2026-01-01T00:00:00")


@pytest.fixture
def ledger(tmp_path: Path):
    with open_ledger(tmp_path, STAGE, LANG) as opened:
        yield opened


def test_what_is_recorded_is_there_for_another_reader_at_once(ledger: Ledger, tmp_path: Path):
    asked = question(1)
    ledger.record(answer_to(asked))
    with read_ledger(tmp_path, STAGE, LANG) as reader:
        assert reader.lookup([asked])[asked.key] == answer_to(asked)


def test_outcomes_come_in_the_order_of_the_requests(ledger: Ledger):
    asked = list(Questions(5))
    for request in reversed(asked):
        ledger.record(answer_to(request, text=request.origin))
    assert [outcome.text for _, outcome in outcomes(asked, ledger)] == [request.origin for request in asked]


def test_settled_and_lookup_follow_the_same_rule(ledger: Ledger):
    whole, cut, refused, failed, unknown = Questions(5, max_tokens=100)
    ledger.record(answer_to(whole))
    ledger.record(answer_to(cut, finish_reason="length"))
    ledger.record(failure_of(refused, permanent=True))
    ledger.record(failure_of(failed, permanent=False))
    asked = [whole, cut, refused, failed, unknown]
    assert ledger.settled(asked) == {whole.key: None, cut.key: None, refused.key: "http_400"}
    assert set(ledger.lookup(asked)) == set(ledger.settled(asked))
    larger = [replace(request, max_tokens=200) for request in asked]
    assert set(ledger.settled(larger)) == set(ledger.lookup(larger)) == {whole.key, refused.key}


def test_an_answer_outranks_a_failure_and_removes_it(ledger: Ledger):
    asked = question(1)
    ledger.record(failure_of(asked, permanent=True))
    ledger.record(answer_to(asked))
    assert ledger.failures([asked]) == {}
    assert ledger.settled([asked]) == {asked.key: None}


def test_a_longer_answer_stands_beside_the_one_that_was_cut_off(ledger: Ledger):
    asked = question(1, max_tokens=100)
    ledger.record(answer_to(asked, finish_reason="length", text="cut"))
    longer = replace(asked, max_tokens=200)
    ledger.record(answer_to(longer, text="whole"))
    assert len(ledger) == 2
    assert ledger.lookup([longer])[asked.key].text == "whole"


def test_forgetting_failures_counts_them_by_class(ledger: Ledger):
    first, second, third = Questions(3)
    ledger.record(failure_of(first, permanent=True))
    ledger.record(replace(failure_of(second, permanent=False), kind="timeout"))
    ledger.record(answer_to(third))
    assert ledger.forget_failures() == {"http_400": 1, "timeout": 1}
    assert ledger.settled([first, second, third]) == {third.key: None}


def test_half_characters_in_a_reply_are_kept_as_replacement_characters(ledger: Ledger):
    asked = question(1)
    ledger.record(answer_to(asked, text="caf\u00e9 \ud83d \U0001f600 end"))
    assert ledger.lookup([asked])[asked.key].text == "caf\u00e9 \ufffd \U0001f600 end"


def test_an_import_that_fails_half_way_stores_nothing(ledger: Ledger):
    def answers():
        yield answer_to(question(1))
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        ledger.record_all(answers())
    assert len(ledger) == 0
    ledger.record(answer_to(question(2)))
    assert len(ledger) == 1


def test_a_torn_write_ahead_log_loses_only_what_was_torn(tmp_path: Path):
    path = ledger_path(tmp_path, STAGE, LANG)
    with open_ledger(tmp_path, STAGE, LANG) as ledger:
        for request in Questions(50):
            ledger.record(answer_to(request))
        database, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    for kept in (len(log) - 1, len(log) // 2, 100, 0):
        path.write_bytes(database)
        Path(f"{path}-wal").write_bytes(log[:kept])
        Path(f"{path}-shm").unlink(missing_ok=True)
        with open_ledger(tmp_path, STAGE, LANG) as ledger:
            assert integrity(ledger) == "ok"
            assert len(ledger) <= 50
            ledger.record(answer_to(question(99)))


def test_a_file_that_is_no_ledger_is_refused_with_what_to_do(tmp_path: Path):
    path = ledger_path(tmp_path, STAGE, LANG)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match="restore it from a copy"), open_ledger(tmp_path, STAGE, LANG):
        pass


def test_a_ledger_of_a_later_format_is_refused(tmp_path: Path):
    with open_ledger(tmp_path, STAGE, LANG):
        pass
    with sqlite3.connect(ledger_path(tmp_path, STAGE, LANG)) as connection:
        connection.execute("pragma user_version = 2")
    with pytest.raises(LedgerError, match="has format 2"), open_ledger(tmp_path, STAGE, LANG):
        pass


def test_reading_does_not_wait_for_the_writer(ledger: Ledger, tmp_path: Path):
    ledger.record(answer_to(question(1)))
    with read_ledger(tmp_path, STAGE, LANG) as reader:
        ledger.record(answer_to(question(2)))
        assert len(reader) == 2


def test_a_lost_outcome_is_told_of(ledger: Ledger):
    with pytest.raises(LedgerError, match="has lost the outcome"):
        list(outcomes([question(1)], ledger))


def test_keys_of_requests_are_what_they_have_always_been():
    # Recorded answers depend on it; a new value here means that every user's ledger is worthless.
    assert question(1).key == "21e907d19a526d7130eca62d8435d643"
    assert replace(question(1), max_tokens=9, optional=True, facts={"a": 1}).key == question(1).key
    assert question(1, "\ud800").key != question(1).key


@given(
    texts=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), max_size=3),
    kind=st.sampled_from(["json_schema", "json_object", "none"]),
    numbers=st.tuples(st.floats(0, 2), st.floats(0, 1), st.integers(0, 9)),
    model=st.text(),
)
def test_keys_are_hashes_of_canonical_json(texts, kind, numbers, model):
    temperature, top_p, sample = numbers
    schema = {"type": "object", "properties": {"b": {"enum": ["\u00fc", '"']}, "a": {}}, "required": []}
    request = question(
        0,
        messages=tuple(Message(*text) for text in texts),
        response_format=ResponseFormat(kind, schema=schema),
        temperature=temperature,
        top_p=top_p,
        sample=sample,
        model=model,
    )
    shaping = {
        "model": model,
        "messages": [list(text) for text in texts],
        "sampling": [temperature, top_p],
        "format": [kind, schema if kind == "json_schema" else None],
        "sample": sample,
    }
    canonical = json.dumps(shaping, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert request.key == hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
