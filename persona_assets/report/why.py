"""The life of any row: where it comes from, what was decided about it, and what became of it."""

from collections.abc import Mapping
from typing import Any

from persona_assets.errors import PersonaAssetsError
from persona_assets.sqlfiles import statement
from persona_assets.warehouse import Warehouse

Facts = dict[str, Any]


class UnknownIdError(PersonaAssetsError):
    """An id that stands in no table."""


def life_of(warehouse: Warehouse, identifier: str) -> list[Facts]:
    """Tell the life of an id: of a document (ours or its source's), persona, conversation or reply.

    Returns chapters in order of time, each a mapping with `chapter` and the facts of it.

    Raises:
        UnknownIdError: no table holds the id.
        WarehouseError: nothing has been materialized yet.
    """
    found = _rows(warehouse, "find_id", identifier)
    if not found:
        raise UnknownIdError(
            f"no table holds the id {identifier!r}: copy it whole, from `lang` tables, exports or logs"
        )
    chapters: list[Facts] = []
    for row in found:
        chapters += _TELLERS[row["kind"]](warehouse, row["id"])
    return chapters


def _document(warehouse: Warehouse, doc_id: str) -> list[Facts]:
    return [
        *_chapters(warehouse, "seed document", "document", doc_id),
        *_list(warehouse, "personas that go back to it", "personas_of_document", doc_id),
        *_list(warehouse, "replies that gave no persona", "replies_of_document", doc_id),
    ]


def _rejected_document(warehouse: Warehouse, doc_id: str) -> list[Facts]:
    return _chapters(warehouse, "document not taken", "rejected_document", doc_id)


def _persona(warehouse: Warehouse, persona_id: str) -> list[Facts]:
    persona = _rows(warehouse, "persona", persona_id)[0]
    chapters = _chapters(warehouse, "seed document", "document", persona["doc_id"])
    chapters += [_ancestor(row) for row in _ancestors(warehouse, persona)]
    chapters += _chapters(warehouse, "the model's reply", "reply", persona["answer_key"])
    chapters.append({"chapter": "persona", **_without_fate(persona)})
    chapters += _verdict(warehouse, persona)
    chapters += _list(warehouse, "most similar personas", "similar", persona_id)
    chapters += _list(warehouse, "conversations", "conversations_of_persona", persona_id)
    return chapters


def _conversation(warehouse: Warehouse, conversation_id: str) -> list[Facts]:
    kept = _rows(warehouse, "conversation", conversation_id)
    return [
        *_persona(warehouse, kept[0]["persona_id"]),
        *_chapters(warehouse, "the conversation's reply", "reply", kept[0]["answer_key"]),
        {"chapter": "conversation, kept and exported", **kept[0]},
    ]


def _rejected_conversation(warehouse: Warehouse, conversation_id: str) -> list[Facts]:
    refused = _rows(warehouse, "rejected_conversation", conversation_id)
    return [
        *_persona(warehouse, refused[0]["persona_id"]),
        *_chapters(warehouse, "the conversation's reply", "reply", refused[0]["answer_key"]),
        {"chapter": "conversation, rejected", **refused[0]},
    ]


def _reply(warehouse: Warehouse, answer_key: str) -> list[Facts]:
    return [
        *_chapters(warehouse, "the model's reply", "reply", answer_key),
        *_list(warehouse, "what was made of it", "rows_of_reply", answer_key),
    ]


_TELLERS = {
    "document": _document,
    "rejected document": _rejected_document,
    "persona": _persona,
    "conversation": _conversation,
    "rejected conversation": _rejected_conversation,
    "reply": _reply,
}


def _ancestors(warehouse: Warehouse, persona: Mapping[str, Any]) -> list[Facts]:
    line: list[Facts] = []
    parent_id = persona["parent_persona_id"]
    while parent_id is not None:
        parent = _rows(warehouse, "persona", parent_id)[0]
        line.insert(0, parent)
        parent_id = parent["parent_persona_id"]
    return line


def _ancestor(row: Facts) -> Facts:
    return {
        "chapter": f"ancestor at hop {row['hop']}",
        "persona_id": row["persona_id"],
        "persona": row["persona"],
    }


_FATE = ("detected_lang", "language_score", "fate", "stage", "reason", "score", "threshold", "winner_id")


def _without_fate(persona: Facts) -> Facts:
    return {key: value for key, value in persona.items() if key not in _FATE}


def _verdict(warehouse: Warehouse, persona: Facts) -> list[Facts]:
    verdict = {"chapter": "verdict", **{key: persona[key] for key in _FATE}}
    winner_id = persona["winner_id"]
    if winner_id is None:
        return [verdict]
    winner = _rows(warehouse, "persona", winner_id)[0]
    kept = {"persona_id": winner_id, "persona": winner["persona"], "fate": winner["fate"]}
    return [verdict, {"chapter": "kept in its place", **kept, "reason": winner["reason"]}]


def _chapters(warehouse: Warehouse, title: str, query: str, identifier: str) -> list[Facts]:
    return [{"chapter": title, **row} for row in _rows(warehouse, query, identifier)]


def _list(warehouse: Warehouse, title: str, query: str, identifier: str) -> list[Facts]:
    rows = _rows(warehouse, query, identifier)
    return [{"chapter": title, "rows": rows}] if rows else []


def _rows(warehouse: Warehouse, query: str, identifier: str) -> list[Facts]:
    return warehouse.query(statement("why", query), {"id": identifier}).to_dicts()
