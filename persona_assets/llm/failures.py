"""Failures as data: the classes a request can end in, and forgetting them so that it is asked again.

Classes of requests without an answer: `timeout`, `connection`, `rate_limit`, `http_<status>`,
`context_too_long`, `request_too_large`, `content_filter`, `malformed_response` (the body is no chat
completion) and `body_too_large`. They are in the ledger's table `failures`. A reply that cannot be
used is an answer all the same, paid for and kept; its class is found when it is read.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from persona_assets.llm.ledger import open_ledger

# What the readers of replies call it, and the class it is of.
_CLASSES = {
    "content_filter": "content_filter",
    "truncated": "truncated",
    "invalid_json": "invalid_json",
    "wrong_shape": "schema_violation",
    "unknown_theme": "schema_violation",
    "empty_reply": "empty",
    "empty_persona": "empty",
}


def classes_of(reasons: Iterable[str]) -> Counter[str]:
    """Count the classes of reply faults: `invalid_json`, `schema_violation`, `empty`, `truncated`, `content_filter`.

    Left out are the verdicts on replies that could be read, and requests that got no reply at all,
    whose class the ledger knows.
    """
    return Counter(_CLASSES[reason] for reason in reasons if reason in _CLASSES)


def retry_failed(ledger_folder: Path, languages: Sequence[str] | None = None) -> Counter[str]:
    """Forget the recorded failures, permanent ones too, so that the next run asks exactly those again.

    Args:
        ledger_folder: the ledger folder of a home.
        languages: only these (ISO 639-1); None is all.

    Returns:
        How many were forgotten, by class.

    Raises:
        LedgerError: another process uses one of the ledgers; those before it are done.
    """
    forgotten: Counter[str] = Counter()
    for path in sorted(ledger_folder.glob("*/*.sqlite")):
        stage, lang = path.stem, path.parent.name
        if languages is None or lang in languages:
            with open_ledger(ledger_folder, stage, lang) as ledger:
                forgotten += ledger.forget_failures()
    return forgotten
