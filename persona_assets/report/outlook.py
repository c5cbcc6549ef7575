"""What a run of one language has before it: real documents, real prompts, and what the home knows already."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from persona_assets.errors import SeedError
from persona_assets.generation.conversations import CONVERSATION, conversation_requests
from persona_assets.generation.harvest import unrepeated
from persona_assets.generation.packs import PACKS_FOLDER, PromptPack, load_pack
from persona_assets.generation.parsing import ReplyFault
from persona_assets.generation.personas import (
    PERSONA_TO_PERSONA,
    TEXT_TO_PERSONA,
    Parent,
    document_requests,
    read_personas,
    related_requests,
)
from persona_assets.home import Home
from persona_assets.languages import Language
from persona_assets.llm.forecast import LanguageInput, StageInput
from persona_assets.llm.ledger import chunks
from persona_assets.llm.ledger_measures import StageMeasure, answers_to, measure
from persona_assets.llm.requests import Request
from persona_assets.llm.token_estimates import (
    calibrated,
    persona_bytes,
    prompt_bytes,
    prompt_tokens,
    reply_tokens,
    script_of,
)
from persona_assets.ranges import Range
from persona_assets.report.yields import yields_of
from persona_assets.seeds.census import Census, take_census
from persona_assets.settings import LlmSettings, Profile

STAGES = (TEXT_TO_PERSONA, PERSONA_TO_PERSONA, CONVERSATION)
# Prompts of the later stages are rendered for so many personas.
STAND_INS = 50
# Seconds to the first token, and tokens a second of one reply, where the ledger has no answer yet.
FIRST_TOKEN_S, TOKENS_PER_S = Range(0.2, 0.6, 2.0), Range(15, 50, 150)
# How many requests endpoints answer at once, where the ledger cannot tell.
IN_FLIGHT = Range(16, 64, 256)
REASKED = Range(0.0, 0.01, 0.05)


@dataclass(frozen=True)
class Outlook:
    """The input of the forecast for one language, and in words what it rests on."""

    given: LanguageInput
    grounds: tuple[str, ...]


@dataclass(frozen=True)
class _Asked:
    """The questions about the documents at hand: their mean size, one of them, and what is known of their answers.

    `answered` is the share of all questions of the run that is answered, `counted` pairs the bytes of
    those at hand with the endpoint's count of tokens.
    """

    mean_bytes: float
    like: Request
    answered: Range
    counted: list[tuple[int, int]]


def outlook_of(profile: Profile, home: Home, language: Language) -> Outlook:
    """Find out what a run of one language would ask, as far as that costs nothing.

    Raises:
        PromptPackError: no prompts for the language.
        SeedError: no document can be read, or none passes.
    """
    pack = load_pack(language.code, profile.packs_folder(PACKS_FOLDER))
    census = take_census(profile.seeds, language)
    if not census.documents.height:
        raise SeedError(f"{language.code}: no document passes the settings under [seeds]; loosen them")
    measures = {stage: measure(home.ledger, stage, language.code, profile.llm.model) for stage in STAGES}
    asked = _asked(census, pack, profile, home, measures[TEXT_TO_PERSONA])
    rate, rate_ground = _rate(asked, language)
    yields = yields_of(
        home.warehouse,
        language.code,
        profile,
        documents=census.number.expected,
        replies=[measured.texts if (measured := measures[stage]) else () for stage in STAGES],
        pack=pack,
    )
    prompts = {TEXT_TO_PERSONA: (asked.mean_bytes, asked.like)} | {
        stage: (mean(map(prompt_bytes, requests)), requests[0])
        for stage, requests in _later_prompts(measures, census, pack, profile, language).items()
    }
    stages = _with_answered(_stages(prompts, rate, measures, asked, profile, language), measures, asked, profile)
    given = LanguageInput(
        lang=language.code,
        documents=census.number,
        requests_per_document=profile.personas.requests_per_document,
        reply_yield=yields.reply,
        text=stages[TEXT_TO_PERSONA],
        hops=profile.expansion.hops,
        related=stages[PERSONA_TO_PERSONA],
        related_yield=yields.related,
        parent_share=yields.parent,
        parents_per_hop=profile.expansion.parents_per_hop,
        requests_per_parent=profile.expansion.requests_per_parent,
        keep=yields.keep,
        conversation=stages[CONVERSATION],
        conversations_per_persona=profile.conversations.per_persona,
        conversation_yield=yields.conversation,
        reask=REASKED if profile.llm.reasks else Range.exactly(0.0),
    )
    grounds = [
        f"{language.code}: {census.number.expected:,.0f} documents{'; ' + census.remark if census.remark else ''}",
        f"{language.code}: {rate_ground}",
        *_stage_grounds(language.code, measures, profile.llm),
        *yields.grounds,
    ]
    return Outlook(given, tuple(grounds))


def _stages(
    prompts: Mapping[str, tuple[float, Request]],
    rate: Range,
    measures: Mapping[str, StageMeasure | None],
    asked: _Asked,
    profile: Profile,
    language: Language,
) -> dict[str, StageInput]:
    exchanges = mean(profile.conversations.exchanges)
    return {
        stage: _stage(
            measures[stage],
            prompts=_counted_prompts(stage, measures[stage])
            or prompt_tokens(*prompts[stage], rate, calibrated=bool(asked.counted)),
            replies=reply_tokens(stage, language.script, rate, exchanges=exchanges, max_tokens=profile.llm.max_tokens),
            llm=profile.llm,
        )
        for stage in STAGES
    }


def _asked(census: Census, pack: PromptPack, profile: Profile, home: Home, measured: StageMeasure | None) -> _Asked:
    """Render the real questions about all documents at hand, and see which of them the ledger has answered."""
    documents = census.documents.select("doc_id", "text").iter_rows(named=True)
    requests = unrepeated(document_requests(documents, pack, profile.personas, profile.llm), set())
    counted: list[tuple[int, int]] = []
    number = answered = size = 0
    for chunk in chunks(requests):
        found = answers_to(home.ledger, TEXT_TO_PERSONA, pack.language, chunk)
        answered += len(found)
        for request in chunk:
            size += prompt_bytes(request)
            if (answer := found.get(request.key)) and answer.prompt_tokens:
                counted.append((prompt_bytes(request), answer.prompt_tokens))
        number, like = number + len(chunk), chunk[0]
    return _Asked(size / number, like, _answered(answered / number, census, profile, measured), counted)


def _answered(share: float, census: Census, profile: Profile, measured: StageMeasure | None) -> Range:
    """The share of all questions about documents that is answered, from that of the documents at hand."""
    if census.number.known:
        return Range.exactly(share)
    planned = census.number.expected * profile.personas.requests_per_document
    least = share * census.documents.height / census.number.expected
    stored = measured.answers / planned if measured else 0.0
    return Range(least, max(least, min(share, stored)), share)


def _rate(asked: _Asked, language: Language) -> tuple[Range, str]:
    measured = calibrated(asked.counted)
    if measured:
        return measured, f"{measured.expected:.2f} bytes per token, by {len(asked.counted)} answers in the ledger"
    prior = script_of(language.script).bytes_per_token
    return prior, f"{prior.low:g} to {prior.high:g} bytes per token assumed for {language.script} script"


def _later_prompts(
    measures: dict[str, StageMeasure | None], census: Census, pack: PromptPack, profile: Profile, language: Language
) -> dict[str, list[Request]]:
    """Real prompts about the personas of known replies, else about texts of a persona's size."""
    texts = list(_personas(measures[TEXT_TO_PERSONA])) or _stand_ins(census, language)
    rows = [{"persona_id": f"stand-in-{number}", "persona": text} for number, text in enumerate(texts[:STAND_INS])]
    parents = [Parent(row["persona_id"], row["persona_id"], "", row["persona"], 0) for row in rows]
    return {
        PERSONA_TO_PERSONA: list(related_requests(parents, pack, profile.expansion, profile.llm)),
        CONVERSATION: list(conversation_requests(rows, pack, profile.conversations, profile.llm)),
    }


def _personas(measured: StageMeasure | None) -> Iterator[str]:
    for text in measured.texts if measured else ():
        replies = read_personas(text)
        if not isinstance(replies, ReplyFault):
            yield from (reply.persona for reply in replies)


def _stand_ins(census: Census, language: Language) -> list[str]:
    """The beginnings of documents: text of the right language and script."""
    size = persona_bytes(language.script)
    return [
        text.encode()[:size].decode("utf-8", "ignore") for text in census.documents["text"].head(STAND_INS).to_list()
    ]


def _counted_prompts(stage: str, measured: StageMeasure | None) -> Range | None:
    # The documents of answers in the ledger may be others; what is asked about personas is much alike.
    return measured.prompt_tokens if measured and stage != TEXT_TO_PERSONA else None


def _stage(measured: StageMeasure | None, *, prompts: Range, replies: Range, llm: LlmSettings) -> StageInput:
    completion = (measured and measured.completion_tokens) or replies
    latency = (measured and measured.latency_s) or Range(
        FIRST_TOKEN_S.low + completion.low / TOKENS_PER_S.high,
        FIRST_TOKEN_S.expected + completion.expected / TOKENS_PER_S.expected,
        FIRST_TOKEN_S.high + completion.high / TOKENS_PER_S.low,
    )
    in_flight = IN_FLIGHT
    if measured and measured.in_flight:
        in_flight = Range(measured.in_flight / 2, measured.in_flight, llm.concurrency)
    return StageInput(
        prompt_tokens=prompts,
        completion_tokens=completion.at_most(llm.max_tokens),
        latency_s=latency,
        in_flight=in_flight.at_most(llm.concurrency),
        cached_share=measured.cached_share if measured else 0.0,
    )


def _with_answered(
    stages: dict[str, StageInput], measures: dict[str, StageMeasure | None], asked: _Asked, profile: Profile
) -> dict[str, StageInput]:
    """Say of each stage which share of its requests the ledger has answered.

    Of questions about documents that is known. What is asked later depends on their replies: where the
    ledger has answers of those stages, they are taken to follow the documents, and none may fit.
    """
    share = asked.answered.expected
    everything = Range.exactly(1.0)
    if profile.llm.engine == "replay":
        return {stage: replace(given, answered=everything) for stage, given in stages.items()}
    later = Range(0.0, share, 1.0 if share else 0.0)
    return {
        stage: replace(
            given,
            answered=asked.answered if stage == TEXT_TO_PERSONA else later,
            stored=measured.answers if (measured := measures[stage]) else 0,
        )
        for stage, given in stages.items()
    }


def _stage_grounds(lang: str, measures: dict[str, StageMeasure | None], llm: LlmSettings) -> Iterator[str]:
    seen: dict[str, Any] = {stage: measured.answers for stage, measured in measures.items() if measured}
    if seen:
        counts = ", ".join(f"{stage} {count}" for stage, count in seen.items())
        yield f"{lang}: sizes and latencies of the answers of {llm.model} in the ledger ({counts})"
    missing = [stage for stage in STAGES if stage not in seen]
    if missing:
        yield (
            f"{lang}: sizes of replies to {', '.join(missing)} as in the bundled recordings, {TOKENS_PER_S.low:g} to"
            f" {TOKENS_PER_S.high:g} tokens/s each, {IN_FLIGHT.low:g} to {min(llm.concurrency, IN_FLIGHT.high):g} at"
            " once (assumed)"
        )
