"""The rules a conversation must keep.

mPersonas (dataset card, conversations): valid format, strict user/assistant alternation, starts with
the user, ends with the assistant. Beyond it: no empty turn, and no turn in another language.
"""

from collections.abc import Sequence

from persona_assets.filters.language_id import LanguageIdentifier
from persona_assets.filters.personas import Rejection
from persona_assets.generation.conversations import Turn
from persona_assets.languages import Language

# Shorter turns ("Sí, gracias.") say too little for language identification to be trusted.
MIN_LETTERS = {"words": 40, "han": 12}


def judge_format(turns: Sequence[Turn]) -> Rejection | None:
    """Refuse turns that do not alternate from user to assistant, or are empty."""
    if not turns:
        return Rejection("format", "no_messages")
    for position, turn in enumerate(turns):
        if turn.role not in ("user", "assistant"):
            return Rejection("format", "unknown_role", evidence=f"message {position}: {turn.role!r}")
        if not turn.content:
            return Rejection("format", "empty_turn", evidence=f"message {position}")
    if turns[0].role != "user":
        return Rejection("format", "first_not_user")
    for position in range(1, len(turns)):
        if turns[position].role == turns[position - 1].role:
            return Rejection("format", "not_alternating", evidence=f"messages {position - 1} and {position}")
    if turns[-1].role != "assistant":
        return Rejection("format", "last_not_assistant")
    return None


def judge_turn_languages(
    turns: Sequence[Turn], language: Language, identifier: LanguageIdentifier, min_score: float
) -> Rejection | None:
    """Refuse a conversation in which a turn is, with a score of at least `min_score`, in another language.

    A low score for any language is no reason here: turns hold numbers, code and formulas.
    """
    labels = identifier.labels_of(language)
    for position, turn in enumerate(turns):
        if sum(map(str.isalpha, turn.content)) < MIN_LETTERS[language.shingles]:
            continue
        found = identifier.identify([turn.content])[0]
        if found.label not in labels and found.score >= min_score:
            evidence = f"message {position}: {found.label}"
            return Rejection("language", "turn_language", round(found.score, 4), min_score, evidence)
    return None
