import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import polars as pl
import pytest

from persona_assets.filters.language_id import LanguageIdentifier, load_identifier
from persona_assets.generation.dialogues import generate_conversations
from persona_assets.generation.harvest import generate_personas
from persona_assets.generation.packs import PACKS_FOLDER, load_pack
from persona_assets.generation.parsing import ReplyFault, parse_json
from persona_assets.generation.reasking import ask_twice, second_request
from persona_assets.languages import language
from persona_assets.llm.failures import classes_of
from persona_assets.llm.progress import LogReporter, Tally
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.llm.usage import usage_facts
from persona_assets.settings import Profile, load_profile
from persona_assets_tests.driving import STAGE, Questions, model_for, question
from persona_assets_tests.endpoint import Endpoint

Reply = Callable[[Request], str | Failure]
TURNS = [{"role": "user", "content": "Where does the river meet the sea?"}]
TURNS += [{"role": "assistant", "content": "It meets the sea beyond the old harbour wall."}]


def asker(reply: Reply, sent: list[Request] | None = None):
    """An `ask` whose model is `reply`."""

    def ask(_stage: str, _lang: str, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        for request in requests:
            if sent is not None:
                sent.append(request)
            text = reply(request)
            if isinstance(text, Failure):
                yield request, text
            else:
                yield request, Answer(request.key, text, "stop", request.max_tokens, "m", "h")

    return ask


def unreadable(outcome: Outcome) -> ReplyFault | None:
    value = parse_json(outcome.text) if isinstance(outcome, Answer) else ReplyFault("request_failed", "")
    return value if isinstance(value, ReplyFault) else None


def exchanges(reply: Reply, *, enabled: bool = True, sent: list[Request] | None = None):
    asked = list(Questions(3))
    return list(ask_twice(asker(reply, sent), STAGE, "en", asked, fault_of=unreadable, enabled=enabled))


def broken_once(request: Request) -> str:
    return '{"persona": "a' if len(request.messages) == 2 and request.origin == "doc-1" else '{"persona": "a"}'


def test_only_replies_that_cannot_be_read_are_asked_for_again_and_once():
    sent: list[Request] = []
    ended = exchanges(broken_once, sent=sent)
    assert [exchange.request.origin for exchange in ended] == ["doc-0", "doc-1", "doc-2"]
    assert len(sent) == 4
    assert [len(exchange.answers) for exchange in ended] == [1, 2, 1]
    assert json.loads(ended[1].outcome.text) == {"persona": "a"}
    assert ended[1].note == "asked again after invalid_json"


def test_a_second_bad_reply_is_final_and_says_so():
    sent: list[Request] = []
    ended = exchanges(lambda _: "no JSON here", sent=sent)
    assert len(sent) == 6
    fault = ended[0].explain(ReplyFault("invalid_json", "Expecting value"))
    assert fault.evidence == "Expecting value; asked again after invalid_json"


def test_where_asking_again_fails_the_first_reply_counts():
    def reply(request: Request) -> str | Failure:
        return "no JSON" if len(request.messages) == 2 else Failure(request.key, "timeout", "late", 6, False)

    ended = exchanges(reply)
    assert [exchange.outcome.text for exchange in ended] == ["no JSON"] * 3
    assert ended[0].note == "asked again, which failed: timeout"


def test_it_is_asked_only_where_that_may_help():
    sent: list[Request] = []
    exchanges(lambda request: Failure(request.key, "timeout", "late", 6, False), sent=sent)
    assert len(sent) == 3
    exchanges(lambda _: "no JSON", enabled=False, sent=sent)
    assert len(sent) == 6


def test_the_second_request_shows_reply_and_error_and_has_a_key_of_its_own():
    first = question(1)
    answer = Answer(first.key, '{"a', "stop", 256, "m", "h")
    second = second_request(first, answer, ReplyFault("invalid_json", "Unterminated string"))
    assert second.key != first.key
    assert second.messages[:2] == first.messages
    assert [message.role for message in second.messages[2:]] == ["assistant", "user"]
    assert second.messages[2].content == '{"a'
    error = json.loads(second.messages[3].content)
    assert (error["error"], error["detail"]) == ("invalid_json", "Unterminated string")
    assert second.optional
    assert not first.optional


def test_no_empty_message_is_sent_for_an_empty_reply():
    second = second_request(question(1), Answer("k", " ", "stop", 256, "m", "h"), ReplyFault("empty_reply", ""))
    assert [message.role for message in second.messages] == ["system", "user", "user"]


def test_nobody_is_asked_again_by_default_where_nobody_is_asked():
    assert not load_profile("demo").llm.reasks
    assert load_profile("quickstart").llm.reasks
    assert not load_profile("quickstart", {"llm.reask": False}).llm.reasks


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return load_identifier("lid176", "lid176")


def profile() -> Profile:
    return load_profile("quickstart", {"expansion.hops": 0, "llm.model": "tiny", "personas.requests_per_document": 2})


def documents(count: int) -> pl.DataFrame:
    rows = [{"doc_id": f"d{number}", "text": f"The tide came in at {number} o'clock."} for number in range(count)]
    return pl.DataFrame(rows)


def test_personas_account_for_every_request_once_and_for_every_reply(identifier: LanguageIdentifier):
    def reply(request: Request) -> str:
        first = len(request.messages) == 2
        broken = {"d0": first, "d1": True}.get(request.origin, False)
        return "not JSON" if broken else json.dumps({"persona": f"A sailor of {request.origin} {request.sample}"})

    harvest = generate_personas(
        documents(5), pack=load_pack("en", PACKS_FOLDER), language=language("en"), identifier=identifier,
        profile=profile(), ask=asker(reply),
    )  # fmt: skip
    assert harvest.requests == 10
    assert (harvest.personas.height, harvest.rejected.height) == (8, 2)
    assert harvest.answers.height == 10 + 4
    assert set(harvest.rejected["evidence"].str.contains("asked again after invalid_json")) == {True}
    assert set(harvest.personas["answer_key"]) <= set(harvest.answers["answer_key"])
    assert harvest.personas["persona_id"].n_unique() == 8


def test_conversations_account_for_every_request_once(identifier: LanguageIdentifier):
    pack = load_pack("en", PACKS_FOLDER)

    def reply(request: Request) -> str:
        if request.origin == "p1" or len(request.messages) == 2:
            return '{"theme": 3}'
        return json.dumps({"theme": next(iter(pack.themes)), "messages": TURNS})

    rows = [{"persona_id": f"p{n}", "persona": "A sailor", "parent_persona_id": None, "doc_id": "d0"} for n in range(3)]
    harvest = generate_conversations(
        pl.DataFrame(rows, schema_overrides={"parent_persona_id": pl.String}), documents(1), pack=pack,
        language=language("en"), identifier=identifier, profile=profile(), ask=asker(reply),
    )  # fmt: skip
    assert (harvest.conversations.height, harvest.rejected.height) == (2, 1)
    assert harvest.rejected["reason"].to_list() == ["wrong_shape"]
    assert "asked again after wrong_shape" in harvest.rejected["evidence"][0]
    assert harvest.answers.height == 6


def test_a_rerun_pays_for_neither_reply_again(tmp_path: Path, identifier: LanguageIdentifier):
    with Endpoint(invalid_content=0.4) as server:
        runs = []
        for _ in range(2):
            model = model_for(server, tmp_path)
            runs.append(
                generate_personas(
                    documents(20), pack=load_pack("en", PACKS_FOLDER), language=language("en"), identifier=identifier,
                    profile=profile(), ask=model.ask,
                )
            )  # fmt: skip
        assert max(server.stats()["attempts"].values()) == 1
        assert runs[0].answers.height == server.stats()["requests"] > 40
        assert runs[0].personas.equals(runs[1].personas)
        assert runs[0].personas.height + runs[0].rejected.height == runs[0].requests == 40


def test_an_optional_request_may_fail_without_stopping_the_stage(tmp_path: Path):
    with Endpoint(context_length=200) as server:
        model = model_for(server, tmp_path, max_failed_share=0.0)
        first = question(1)
        long = second_request(first, Answer(first.key, "x" * 5000, "stop", 9, "m", "h"), ReplyFault("invalid_json", ""))
        ((_, outcome),) = list(model.ask(STAGE, "en", [long]))
        assert isinstance(outcome, Failure)
        assert outcome.kind == "context_too_long"


def test_reply_faults_are_reported_by_class():
    reasons = ["invalid_json", "wrong_shape", "unknown_theme", "empty_reply", "truncated", "request_failed", "language"]
    assert classes_of(reasons) == {"invalid_json": 1, "schema_violation": 2, "empty": 1, "truncated": 1}


def test_usage_facts_have_cost_and_failure_classes():
    tally = Tally("s", "en", answered=2, cost=0.5)
    tally.count_failure("timeout", optional=False)
    answers = pl.DataFrame({"prompt_tokens": [5, None], "completion_tokens": [1, 1], "latency_s": [0.5, 1.5]})
    facts = usage_facts([tally, Tally("s", "en", cost=0.25)], answers, ["invalid_json"])
    assert facts["cost"] == 0.75
    assert facts["failure_classes"] == {"timeout": 1, "invalid_json": 1}
    assert (facts["failed"], facts["prompt_tokens"]) == (1, 5)
    assert "cost" not in usage_facts([Tally("s", "en")], answers)


def test_log_lines_carry_the_same_facts_as_fields(caplog: pytest.LogCaptureFixture):
    tally = Tally("text_to_persona", "en", total=10, answered=4, limit=16, cost=1.5)
    with caplog.at_level(logging.INFO, logger="persona_assets"):
        LogReporter().finish(tally)
    record = caplog.records[0].__dict__
    assert (record["stage"], record["lang"], record["done"], record["limit"]) == ("text_to_persona", "en", 4, 16)
    assert record["cost"] == 1.5
