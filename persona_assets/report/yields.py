"""How much of what is asked for is kept: from the database where it has rows, else from documented priors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from persona_assets import sqlfiles
from persona_assets.errors import ProfileError, WarehouseError
from persona_assets.filters.conversations import judge_format
from persona_assets.generation.conversations import read_dialogue
from persona_assets.generation.packs import PromptPack
from persona_assets.generation.parsing import ReplyFault
from persona_assets.generation.personas import read_personas
from persona_assets.ranges import Range, narrowed, share_of
from persona_assets.settings import Profile
from persona_assets.warehouse import Warehouse

# A forecast can do without the database, if somebody holds it.
WAIT_S = 5.0
# Duplicates grow with the number of personas: yields of this many times fewer say little about their share.
COMPARABLE = 3.0
# A few replies are weighed against what is assumed as if that were so many.
PRIOR_CASES = 10


@dataclass(frozen=True)
class Yields:
    """Shares of what goes on, at each step; `grounds` say where they come from.

    `reply` and `related` are personas per reply, `parent` the share of personas that may be asked about
    in turn, `keep` the share of all personas that are kept at the end, `conversation` the share of
    conversations kept.
    """

    reply: Range
    related: Range
    parent: Range
    keep: Range
    conversation: Range
    grounds: tuple[str, ...] = ()


# mPersonas (dataset card, 2025): filters and deduplication removed 4 to 35 % of the personas, by language.
# The others are what models with structured output give, and what those without may.
PRIOR = Yields(
    reply=Range(0.85, 0.98, 1.0),
    related=Range(0.85, 0.98, 1.0),
    parent=Range(0.8, 0.96, 1.0),
    keep=Range(0.65, 0.85, 0.96),
    conversation=Range(0.75, 0.95, 1.0),
)


def yields_of(
    warehouse: Path,
    lang: str,
    profile: Profile,
    *,
    documents: float,
    replies: Sequence[Iterable[str]],
    pack: PromptPack,
) -> Yields:
    """The yields to expect of one language.

    Args:
        warehouse: the DuckDB file of the home, which need not exist.
        lang: ISO 639-1.
        profile: of the run that is planned; rows of another model are not counted.
        documents: how many are planned.
        replies: known replies of the three stages, for what the database does not tell.
        pack: the prompt pack, for the themes of conversations.
    """
    seen = _of_replies(replies, pack)
    counts, remark = _counts(warehouse, lang, profile)
    if counts is None:
        source = "assumed" if seen is PRIOR else "of the replies in the ledger, else assumed"
        kept = f"{PRIOR.keep.low:.0%} to {PRIOR.keep.high:.0%} of the personas kept, as in mPersonas"
        return replace(seen, grounds=(f"{lang}: yields {source} ({kept}){remark}",))
    found = _of_counts(counts, seen, profile)
    grounds = [f"{lang}: yields of the database ({counts['text_requests']} requests about documents)"]
    asked = documents * profile.personas.requests_per_document
    if counts["kept"] and asked > COMPARABLE * counts["text_requests"]:
        found = replace(found, keep=Range(min(found.keep.low, PRIOR.keep.low), found.keep.expected, found.keep.high))
        grounds.append(f"{lang}: far more personas are planned than the database has: more of them may be duplicates")
    return replace(found, grounds=tuple(grounds))


def _of_replies(replies: Sequence[Iterable[str]], pack: PromptPack) -> Yields:
    """The yields that can be read off replies to the three stages; the others are priors."""
    found = PRIOR
    text, related = (
        [0 if isinstance(read, ReplyFault) else len(read) for read in map(read_personas, texts)]
        for texts in replies[:2]
    )
    if text:
        found = replace(found, reply=_with_prior(sum(text), len(text), PRIOR.reply))
    if related:
        found = replace(found, related=_with_prior(sum(related), len(related), PRIOR.related))
    verdicts = [_is_conversation(text, pack) for text in replies[2]]
    if verdicts:
        found = replace(found, conversation=_with_prior(sum(verdicts), len(verdicts), PRIOR.conversation))
    return found


def _is_conversation(text: str, pack: PromptPack) -> bool:
    dialogue = read_dialogue(text, pack.themes)
    return not isinstance(dialogue, ReplyFault) and judge_format(dialogue.turns) is None


def _with_prior(part: int, whole: int, prior: Range) -> Range:
    """A share seen in a few cases, as if some more had been as assumed."""
    if part > whole:
        return _of_count(part, whole, prior)
    seen = share_of(part + PRIOR_CASES * prior.expected, whole + PRIOR_CASES)
    return narrowed(seen, prior)


def _of_count(part: int, whole: int, prior: Range) -> Range:
    """The share that was seen; more than one where a model gives several personas at a time."""
    if part > whole:
        return Range.around(part / whole, 0.9, 1.1)
    return narrowed(share_of(part, whole), prior)


def _counts(path: Path, lang: str, profile: Profile) -> tuple[dict[str, Any] | None, str]:
    if not path.exists():
        return None, ""
    try:
        found = Warehouse(path, wait_s=WAIT_S).query(sqlfiles.statement("forecast", "yields"), {"lang": lang})
    except WarehouseError as error:
        return None, f" (the database cannot be read: {error})"
    row = found.row(0, named=True)
    if not row["text_requests"] or row["settings"] is None:
        return None, ""
    try:
        made_by = Profile.model_validate_json(row["settings"])
    except (ValueError, ProfileError):
        return None, " (the database was made by another version)"
    if made_by.llm.model != profile.llm.model:
        return None, f" (the database is of {made_by.llm.model})"
    row["settings"] = made_by
    return row, ""


def _of_counts(counts: dict[str, Any], seen: Yields, profile: Profile) -> Yields:
    """Yields of the steps that the database has taken; of the others, those of the replies."""
    raw = counts["text_personas"] + counts["related_personas"]
    judged = counts["filtered"] + counts["rejected"]
    deduplicated = counts["kept"] + counts["duplicates"]
    talked = counts["conversations"] + counts["conversations_rejected"]
    found = replace(seen, reply=_of_count(counts["text_personas"], counts["text_requests"], PRIOR.reply))
    if counts["related_requests"]:
        found = replace(found, related=_of_count(counts["related_personas"], counts["related_requests"], PRIOR.related))
    all_expanded = counts["settings"].expansion.hops > 0 and counts["settings"].expansion.parents_per_hop is None
    if all_expanded and counts["text_personas"]:
        found = replace(found, parent=_of_count(counts["text_parents"], counts["text_personas"], PRIOR.parent))
    elif judged:
        found = replace(found, parent=_of_count(counts["filtered"], judged, PRIOR.parent))
    if raw and judged == raw and deduplicated == counts["filtered"] and deduplicated:
        found = replace(found, keep=_of_count(counts["kept"], raw, PRIOR.keep))
    if talked and talked == counts["kept"] * profile.conversations.per_persona:
        found = replace(found, conversation=_of_count(counts["conversations"], talked, PRIOR.conversation))
    return found
