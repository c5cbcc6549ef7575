"""Conversations driven by a persona: the requests, and the dialogue in their replies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persona_assets.generation.asking import chat_request, object_schema
from persona_assets.generation.packs import PromptPack, fill
from persona_assets.generation.parsing import ReplyFault, clean_text, parse_json
from persona_assets.identity import draw, fraction
from persona_assets.llm.requests import Request
from persona_assets.settings import ConversationSettings, LlmSettings

CONVERSATION = "conversation"


@dataclass(frozen=True)
class Turn:
    """One message of a conversation as the model wrote it; the role is not yet checked."""

    role: str
    content: str


@dataclass(frozen=True)
class Dialogue:
    """A conversation in the right format: a theme key of the pack, and the turns in order."""

    theme: str
    turns: tuple[Turn, ...]


def conversation_requests(
    personas: Sequence[Mapping[str, Any]], pack: PromptPack, settings: ConversationSettings, llm: LlmSettings
) -> Iterator[Request]:
    """Ask for the conversations of each persona (mappings with `persona_id` and `persona`).

    Type and number of exchanges are drawn from the persona's id, in the shares of the settings.
    """
    prompts = pack.conversation
    themes = "\n".join(f"{key}: {label}" for key, label in pack.themes.items())
    for persona in personas:
        persona_id = persona["persona_id"]
        for sample in range(settings.per_persona):
            kind = "reasoning" if fraction("type", persona_id, sample) < settings.reasoning_share else "general"
            exchanges = settings.exchanges[draw("exchanges", persona_id, sample) % len(settings.exchanges)]
            user = fill(
                prompts.template,
                task=prompts.types[kind],
                exchanges=exchanges,
                themes=themes,
                persona=persona["persona"],
            )
            yield chat_request(
                stage=CONVERSATION,
                lang=pack.language,
                origin=persona_id,
                system=prompts.system,
                user=user,
                schema=dialogue_schema(pack.themes, exchanges),
                llm=llm,
                sample=sample,
                facts={"persona_id": persona_id, "type": kind, "exchanges": exchanges, "sample": sample},
            )


def dialogue_schema(themes: Mapping[str, str], exchanges: int) -> dict[str, Any]:
    """JSON schema of a reply with a theme of the list and `exchanges` pairs of messages."""
    message = object_schema({"role": {"type": "string", "enum": ["user", "assistant"]}, "content": {"type": "string"}})
    messages = {"type": "array", "items": message, "minItems": 2 * exchanges, "maxItems": 2 * exchanges}
    return object_schema({"theme": {"type": "string", "enum": list(themes)}, "messages": messages})


def read_dialogue(text: str, themes: Mapping[str, str]) -> Dialogue | ReplyFault:
    """Read the dialogue of a reply; roles and order are the business of the conversation filter.

    A theme may be given by its key or by its label in the pack's language.
    """
    value = parse_json(text)
    if isinstance(value, ReplyFault):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return ReplyFault("wrong_shape", 'no "messages" list')
    turns: list[Turn] = []
    for position, message in enumerate(value["messages"]):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            return ReplyFault("wrong_shape", f"message {position} has no role and content")
        turns.append(Turn(role, clean_text(content)))
    theme = _theme_key(value.get("theme"), themes)
    if theme is None:
        return ReplyFault("unknown_theme", str(value.get("theme")))
    return Dialogue(theme, tuple(turns))


def _theme_key(theme: object, themes: Mapping[str, str]) -> str | None:
    if not isinstance(theme, str):
        return None
    wanted = theme.split(":")[0].strip().casefold()
    keys = {label.casefold(): key for key, label in themes.items()} | {key.casefold(): key for key in themes}
    return keys.get(wanted)
