"""Sharing answers: JSON Lines files that ledgers export and import.

The first line is a header with the format's name and version; every further line is one answer with
its stage, its language and a checksum over all its other fields. A question that waits for an answer
is written the same way (`pending` below), so that it can be answered elsewhere and imported.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persona_assets.errors import LedgerError
from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.requests import ANSWER_FIELDS, Answer, Request

FORMAT = {"format": "persona-assets-answers", "version": 1}
_OWN_FIELDS = ("stage", "lang", "checksum")
_NUMBER = (int, float, type(None))
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("text", "finish_reason", "model", "endpoint", "answered_at"), (str,)),
    **dict.fromkeys(("max_tokens", "attempts"), (int,)),
    **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), (int, type(None))),
    "latency_s": _NUMBER,
}
# Stage and language name a file of the ledger folder, and must not lead out of it.
_FORMS = {"key": re.compile("[0-9a-f]{32}"), "stage": re.compile("[a-z][a-z0-9_]*"), "lang": re.compile("[a-z]{2,8}")}


def checksum(record: Mapping[str, Any]) -> str:
    """64 bits of BLAKE2b over a record without its checksum, as 16 hex digits."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def export_answers(ledger_folder: Path, target: Path, *, lang: str | None = None) -> int:
    """Write every stored answer (of one language, if given) to `target`; returns how many."""
    count = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="\n") as out:
        out.write(json.dumps(FORMAT) + "\n")
        for path in sorted(ledger_folder.glob(f"{lang or '*'}/*.sqlite")):
            stage, code = path.stem, path.parent.name
            with open_ledger(ledger_folder, stage, code) as ledger:
                for answer in ledger.answers():
                    record = {"stage": stage, "lang": code, **dataclasses.asdict(answer)}
                    out.write(json.dumps({**record, "checksum": checksum(record)}, ensure_ascii=False) + "\n")
                    count += 1
    return count


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import did: answers read, and those of them that the ledger did not hold yet."""

    read: int
    added: int


def import_answers(ledger_folder: Path, source: Path) -> Imported:
    """Add the answers of an exchange file to the ledgers; what is there already stays as it is.

    The whole file is verified before the first answer is stored, so a refused file changes nothing.

    Raises:
        LedgerError: not an exchange file of this version, a damaged line, a wrong checksum, or a value that
            no ledger holds.
    """
    grouped: dict[tuple[str, str], list[Answer]] = {}
    for record in _verified(source):
        fields = {key: value for key, value in record.items() if key not in _OWN_FIELDS}
        grouped.setdefault((record["stage"], record["lang"]), []).append(Answer(**fields))
    added = 0
    for (stage, lang), answers in grouped.items():
        with open_ledger(ledger_folder, stage, lang) as ledger:
            before = len(ledger)
            ledger.record_all(answers)
            added += len(ledger) - before
    return Imported(sum(map(len, grouped.values())), added)


def _verified(source: Path) -> Iterator[dict[str, Any]]:
    number = 0
    # As bytes: damage may leave a line that is not even text.
    with source.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                raise LedgerError(f"{source} line {number} is damaged ({error}): nothing was imported") from error
            if number == 1:
                _check_header(source, record)
                continue
            fault = _fault(record)
            if fault:
                raise LedgerError(f"{source} line {number} {fault}: nothing was imported")
            yield record
    if number == 0:
        _check_header(source, None)


def _check_header(source: Path, header: object) -> None:
    if header == FORMAT:
        return
    if isinstance(header, dict) and header.get("format") == FORMAT["format"]:
        what = f"has version {header.get('version')}, and this program reads version {FORMAT['version']}: upgrade it"
        raise LedgerError(f"{source} {what}; nothing was imported")
    raise LedgerError(f"{source} is not an answer file of version {FORMAT['version']}: nothing was imported")


def _fault(record: object) -> str | None:
    if not isinstance(record, dict):
        return "is not an answer"
    if record.get("checksum") != checksum(record):
        return "does not match its checksum"
    expected = {*ANSWER_FIELDS, *_OWN_FIELDS}
    if set(record) != expected:
        return f"has other fields than expected ({', '.join(sorted(set(record) ^ expected))})"
    for name, form in _FORMS.items():
        if not isinstance(record[name], str) or not form.fullmatch(record[name]):
            return f"has a {name} that is none"
    for name, kinds in _TYPES.items():
        value = record[name]
        if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
            return f"has a {name} of the wrong kind"
    return None


def write_pending(ledger_folder: Path, stage: str, lang: str, requests: Iterable[Request]) -> Path:
    """Write questions that wait for an answer to `<ledger>/pending/<lang>/<stage>.jsonl`; returns the path."""
    target = ledger_folder / "pending" / lang / f"{stage}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="\n") as out:
        for request in requests:
            question = {
                "key": request.key,
                "stage": stage,
                "lang": lang,
                "model": request.model,
                "max_tokens": request.max_tokens,
                "messages": [dataclasses.asdict(message) for message in request.messages],
                "schema": request.response_format.schema,
            }
            out.write(json.dumps(question, ensure_ascii=False) + "\n")
    return target


def answers_file(replies: Iterable[Mapping[str, str]], questions: Path, target: Path) -> int:
    """Turn replies written to pending questions into an exchange file; returns how many.

    Args:
        replies: mappings with `key` and `text`, and `finish_reason` where it is not "stop".
        questions: the pending file that was answered.
        target: the exchange file to write.

    Raises:
        LedgerError: a reply to a question that was not asked.
    """
    asked = {}
    for line in questions.read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        asked[question["key"]] = question
    now = datetime.now(UTC).isoformat(timespec="seconds")
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with target.open("w", encoding="utf-8", newline="\n") as out:
        out.write(json.dumps(FORMAT) + "\n")
        for reply in replies:
            question = asked.get(reply["key"])
            if question is None:
                raise LedgerError(f"a reply to {reply['key']}, which {questions} does not ask")
            answer = Answer(
                key=reply["key"],
                text=reply["text"],
                finish_reason=reply.get("finish_reason", "stop"),
                max_tokens=question["max_tokens"],
                model=question["model"],
                endpoint="recorded",
                answered_at=now,
            )
            record = {"stage": question["stage"], "lang": question["lang"], **dataclasses.asdict(answer)}
            out.write(json.dumps({**record, "checksum": checksum(record)}, ensure_ascii=False) + "\n")
            count += 1
    return count
