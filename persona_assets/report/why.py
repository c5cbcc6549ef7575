"""The life of any row: where it comes from, what was decided about it, and what became of it."""

from collections.abc import Mapping
from typing import Any

from duckdb import DuckDBPyConnection

from persona_assets.errors import PersonaAssetsError
from persona_assets.sqlfiles import statement
from persona_assets.warehouse import Warehouse

Facts = dict[str, Any]


class UnknownIdError(PersonaAssetsError):
    """An id that stands in no table."""


def life_of(warehouse: Warehouse, identifier: str) -> list[Facts]:
    """Tell the life of an id: of a document (ours or its source's), persona, conversation, reply or run.

    Returns chapters in order of time, each a mapping with `chapter` and the facts of it.

    Raises:
        UnknownIdError: no table holds the id.
        WarehouseError: nothing has been materialized yet.
    """
    with warehouse.reading() as connection:
        return _life(connection, identifier)


def _life(connection: DuckDBPyConnection, identifier: str) -> list[Facts]:
    found = _rows(connection, "find_id", identifier)
    if not found:
        raise UnknownIdError(
            f"no table holds the id {identifier!r}: copy it whole, from `lang` tables, exports or logs"
        )
    chapters: list[Facts] = []
    for row in found:
        chapters += _TELLERS[row["kind"]](connection, row["id"])
    return chapters


def _document(connection: DuckDBPyConnection, doc_id: str) -> list[Facts]:
    return [
        *_chapters(connection, "seed document", "document", doc_id),
        *_list(connection, "personas that go back to it", "personas_of_document", doc_id),
        *_list(connection, "replies that gave no persona", "replies_of_document", doc_id),
    ]


def _rejected_document(connection: DuckDBPyConnection, doc_id: str) -> list[Facts]:
    return _chapters(connection, "document not taken", "rejected_document", doc_id)


def _persona(connection: DuckDBPyConnection, persona_id: str) -> list[Facts]:
    persona = _rows(connection, "persona", persona_id)[0]
    chapters = _chapters(connection, "seed document", "document", persona["doc_id"])
    chapters += [_ancestor(row) for row in _ancestors(connection, persona)]
    chapters += _chapters(connection, "the model's reply", "reply", persona["answer_key"])
    chapters.append({"chapter": "persona", **_without_fate(persona)})
    chapters += _verdict(connection, persona)
    chapters += _list(connection, "most similar personas", "similar", persona_id)
    chapters += _list(connection, "twins in other languages", "twins", persona_id)
    chapters += _list(connection, "conversations", "conversations_of_persona", persona_id)
    return chapters


def _conversation(connection: DuckDBPyConnection, conversation_id: str) -> list[Facts]:
    kept = _rows(connection, "conversation", conversation_id)
    return [
        *_persona(connection, kept[0]["persona_id"]),
        *_chapters(connection, "the conversation's reply", "reply", kept[0]["answer_key"]),
        {"chapter": "conversation, kept and exported", **kept[0]},
    ]


def _rejected_conversation(connection: DuckDBPyConnection, conversation_id: str) -> list[Facts]:
    refused = _rows(connection, "rejected_conversation", conversation_id)
    return [
        *_persona(connection, refused[0]["persona_id"]),
        *_chapters(connection, "the conversation's reply", "reply", refused[0]["answer_key"]),
        {"chapter": "conversation, rejected", **refused[0]},
    ]


def _reply(connection: DuckDBPyConnection, answer_key: str) -> list[Facts]:
    return [
        *_chapters(connection, "the model's reply", "reply", answer_key),
        *_list(connection, "what was made of it", "rows_of_reply", answer_key),
    ]


def _run(connection: DuckDBPyConnection, run_id: str) -> list[Facts]:
    return _list(connection, "what the run made", "run", run_id)


_TELLERS = {
    "run": _run,
    "document": _document,
    "rejected document": _rejected_document,
    "persona": _persona,
    "conversation": _conversation,
    "rejected conversation": _rejected_conversation,
    "reply": _reply,
}


def _ancestors(connection: DuckDBPyConnection, persona: Mapping[str, Any]) -> list[Facts]:
    line: list[Facts] = []
    parent_id = persona["parent_persona_id"]
    while parent_id is not None:
        parent = _rows(connection, "persona", parent_id)[0]
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


def _verdict(connection: DuckDBPyConnection, persona: Facts) -> list[Facts]:
    verdict = {"chapter": "verdict", **{key: persona[key] for key in _FATE}}
    winner_id = persona["winner_id"]
    if winner_id is None:
        return [verdict]
    winner = _rows(connection, "persona", winner_id)[0]
    kept = {"persona_id": winner_id, "persona": winner["persona"], "fate": winner["fate"]}
    return [verdict, {"chapter": "kept in its place", **kept, "reason": winner["reason"]}]


def _chapters(connection: DuckDBPyConnection, title: str, query: str, identifier: str) -> list[Facts]:
    return [{"chapter": title, **row} for row in _rows(connection, query, identifier)]


def _list(connection: DuckDBPyConnection, title: str, query: str, identifier: str) -> list[Facts]:
    rows = _rows(connection, query, identifier)
    return [{"chapter": title, "rows": rows}] if rows else []


def _rows(connection: DuckDBPyConnection, query: str, identifier: str) -> list[Facts]:
    found = connection.sql(statement("why", query), params={"id": identifier})
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
