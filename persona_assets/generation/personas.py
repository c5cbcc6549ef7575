"""Text-to-persona and persona-to-persona: the requests, and the personas in their replies.

PersonaHub (arXiv 2406.20094), sections 2.1 and 2.2: "Who is likely to read | write | like | dislike
this text?" and "Who is in close relationship with this persona?", at varied levels of detail.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persona_assets.generation.asking import chat_request, object_schema
from persona_assets.generation.packs import PromptPack, fill
from persona_assets.generation.parsing import ReplyFault, clean_text, parse_json
from persona_assets.identity import draw, shuffled
from persona_assets.llm.requests import Request
from persona_assets.settings import ExpansionSettings, LlmSettings, PersonaSettings

TEXT_TO_PERSONA = "text_to_persona"
PERSONA_TO_PERSONA = "persona_to_persona"

PERSONA_SCHEMA = object_schema({"persona": {"type": "string"}})
RELATED_PERSONA_SCHEMA = object_schema({"relation": {"type": "string"}, "persona": {"type": "string"}})


@dataclass(frozen=True)
class Parent:
    """A persona that others are asked for: its row's ids, its text, and how far it is from a document."""

    persona_id: str
    root_persona_id: str
    doc_id: str
    persona: str
    hop: int


@dataclass(frozen=True)
class PersonaReply:
    """One persona of a reply, with the model's own label of the relation where it gives one."""

    persona: str
    relation_label: str | None


def document_requests(
    documents: Iterable[Mapping[str, Any]], pack: PromptPack, settings: PersonaSettings, llm: LlmSettings
) -> Iterator[Request]:
    """Ask for the personas of each document (mappings with `doc_id` and `text`).

    Each document draws its own order of relations and its own first level of detail from its id, so
    that all combinations occur evenly and none depends on the other documents.
    """
    question = pack.text_to_persona
    for document in documents:
        doc_id = document["doc_id"]
        for relation, detail, sample in _combinations(doc_id, settings, settings.requests_per_document):
            user = fill(
                question.template,
                relation=question.relations[relation],
                detail=pack.details[detail],
                document=document["text"],
            )
            yield chat_request(
                stage=TEXT_TO_PERSONA,
                lang=pack.language,
                origin=doc_id,
                system=question.system,
                user=user,
                schema=PERSONA_SCHEMA,
                llm=llm,
                sample=sample,
                facts={
                    "method": "text",
                    "relation": relation,
                    "detail": detail,
                    "hop": 0,
                    "parent_persona_id": None,
                    "root_persona_id": None,
                    "doc_id": doc_id,
                },
            )


def related_requests(
    parents: Sequence[Parent], pack: PromptPack, settings: ExpansionSettings, llm: LlmSettings
) -> Iterator[Request]:
    """Ask for people in close relationship with each parent, one hop further from the document."""
    question = pack.persona_to_persona
    for parent in parents:
        for relation, detail, sample in _combinations(parent.persona_id, settings, settings.requests_per_parent):
            user = fill(
                question.template,
                relation=question.relations[relation],
                detail=pack.details[detail],
                persona=parent.persona,
            )
            yield chat_request(
                stage=PERSONA_TO_PERSONA,
                lang=pack.language,
                origin=parent.persona_id,
                system=question.system,
                user=user,
                schema=RELATED_PERSONA_SCHEMA,
                llm=llm,
                sample=sample,
                facts={
                    "method": "persona",
                    "relation": relation,
                    "detail": detail,
                    "hop": parent.hop + 1,
                    "parent_persona_id": parent.persona_id,
                    "root_persona_id": parent.root_persona_id,
                    "doc_id": parent.doc_id,
                },
            )


def choose_parents(candidates: Sequence[Parent], settings: ExpansionSettings) -> list[Parent]:
    """Choose whom to expand: one persona per distinct text, at most `parents_per_hop`, drawn by content."""
    distinct = list({candidate.persona: candidate for candidate in reversed(candidates)}.values())
    if settings.parents_per_hop is None or len(distinct) <= settings.parents_per_hop:
        chosen = {parent.persona_id for parent in distinct}
    else:
        ranked = sorted(distinct, key=lambda parent: draw("parent", parent.persona_id))
        chosen = {parent.persona_id for parent in ranked[: settings.parents_per_hop]}
    return [candidate for candidate in candidates if candidate.persona_id in chosen]


def read_personas(text: str) -> list[PersonaReply] | ReplyFault:
    """Read the personas of a reply.

    The prompts ask for one, `{"persona": …}`; a list of such objects or of texts, bare or under
    "personas", is understood too, because models give them.
    """
    value = parse_json(text)
    if isinstance(value, ReplyFault):
        return value
    if isinstance(value, dict) and "personas" in value:
        value = value["personas"]
    entries = value if isinstance(value, list) else [value]
    replies: list[PersonaReply] = []
    for entry in entries:
        reply = _persona_of(entry)
        if isinstance(reply, ReplyFault):
            return reply
        replies.append(reply)
    return replies or ReplyFault("empty_persona", "an empty list")


def _persona_of(entry: object) -> PersonaReply | ReplyFault:
    label: object = None
    if isinstance(entry, dict):
        label = entry.get("relation")
        if "persona" not in entry:
            return ReplyFault("wrong_shape", f'no "persona" among {sorted(map(str, entry))}')
        entry = entry["persona"]
    if not isinstance(entry, str):
        return ReplyFault("wrong_shape", f'"persona" is {type(entry).__name__}, not a text')
    persona = clean_text(entry)
    if not persona:
        return ReplyFault("empty_persona", "")
    return PersonaReply(persona, clean_text(label) or None if isinstance(label, str) else None)


def _combinations(
    origin: str, settings: PersonaSettings | ExpansionSettings, count: int
) -> Iterator[tuple[str, str, int]]:
    relations = shuffled(settings.relations, "relations", origin)
    details = settings.details
    first = draw("detail", origin)
    asked: dict[tuple[str, str], int] = {}
    for turn in range(count):
        relation = relations[turn % len(relations)]
        # One step further after each round of relations, so that a repeated relation meets another detail.
        detail = details[(first + turn + turn // len(relations)) % len(details)]
        sample = asked.get((relation, detail), 0)
        asked[relation, detail] = sample + 1
        yield relation, detail, sample
