"""Which seed documents are taken, and why the others were not."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from persona_assets.identity import digest
from persona_assets.languages import Language
from persona_assets.seeds.reading import SeedRow
from persona_assets.settings import SeedSettings

DOCUMENT_SCHEMA = pl.Schema(
    {
        "lang": pl.String(),
        "doc_id": pl.String(),
        "text": pl.String(),
        "url": pl.String(),
        "source": pl.String(),
        "source_id": pl.String(),
        "row": pl.Int64(),
        "license": pl.String(),
        "kind": pl.String(),
        "dump": pl.String(),
        "date": pl.String(),
        "language_score": pl.Float64(),
        "minhash_cluster_size": pl.Int64(),
        "chars": pl.Int64(),
        "domain": pl.String(),
        "selection": pl.String(),
    }
)
REJECTED_DOCUMENT_SCHEMA = pl.Schema(
    {
        "lang": pl.String(),
        "doc_id": pl.String(),
        "source": pl.String(),
        "source_id": pl.String(),
        "row": pl.Int64(),
        "url": pl.String(),
        "reason": pl.String(),
        "score": pl.Float64(),
        "threshold": pl.Float64(),
        "evidence": pl.String(),
        "excerpt": pl.String(),
    }
)

# Corpora label some languages by the macrolanguage, where FineWeb2 and GlotLID name the individual one.
_MACROLANGUAGES = {"cmn": "zho", "arb": "ara", "swh": "swa"}
_SCRIPTS = {"hans": "hani", "hant": "hani"}
_SCRIPT_LETTERS = 4
_EXCERPT_CHARS = 200


@dataclass(frozen=True)
class Selection:
    """The documents taken, in DOCUMENT_SCHEMA, and the others, in REJECTED_DOCUMENT_SCHEMA.

    Every one of the `scanned` rows is in exactly one frame, under a `doc_id` that occurs once in both.
    """

    documents: pl.DataFrame
    rejected: pl.DataFrame
    scanned: int


@dataclass(frozen=True)
class _Verdict:
    reason: str
    score: float | None = None
    threshold: float | None = None
    evidence: str | None = None


@dataclass(frozen=True)
class _Candidate:
    """A row with only text that can be stored, and what the rules measure on it."""

    row: SeedRow
    language: Language
    settings: SeedSettings

    @cached_property
    def text(self) -> str:
        return self.row.text or ""

    @cached_property
    def text_digest(self) -> str:
        return digest(self.text, size=16)

    @cached_property
    def doc_id(self) -> str:
        return self._named(self.row.source_id or "", self.text)

    @cached_property
    def positional_id(self) -> str:
        return self._named(self.row.source_id or "", self.text, self.row.file, str(self.row.row))

    @cached_property
    def domain(self) -> str | None:
        return _domain(self.row.url)

    @cached_property
    def fraction(self) -> float:
        """A number in [0, 1) that only the seed, the language and the document decide."""
        seed = str(self.settings.sample_seed)
        drawn = digest("sample", seed, self.language.code, self.row.source_id or self.text, size=8)
        # 53 bits: more would round up to 1.0 as a float.
        return (int(drawn, 16) >> 11) / (1 << 53)

    def _named(self, *parts: str) -> str:
        return f"{self.language.code}-d-{digest(self.language.code, *parts, size=8)}"


@dataclass(frozen=True)
class _Rejection:
    """What is kept of a rejected row: not its text, since far more rows may be rejected than taken."""

    lang: str
    content_id: str | None
    positional_id: str
    facts: tuple[object, ...]


@dataclass
class _Taken:
    """What has been taken so far, as the rules look it up."""

    documents: list[tuple[object, ...]] = field(default_factory=list)
    by_text: dict[str, str] = field(default_factory=dict)
    per_domain: Counter[str] = field(default_factory=Counter)

    def add(self, candidate: _Candidate) -> None:
        self.by_text[candidate.text_digest] = candidate.doc_id
        if candidate.domain is not None:
            self.per_domain[candidate.domain] += 1
        self.documents.append(_document(candidate, rank=len(self.documents) + 1))


def select_documents(rows: Iterable[SeedRow], language: Language, settings: SeedSettings) -> Selection:
    """Take the first `settings.limit` rows that pass every rule, and stop reading there.

    A rejected row carries the first rule it failed: "invalid_json", "wrong_type", "empty_text",
    "other_language", "language_score", "too_short", "too_long", "cluster_size", "duplicate_document",
    "domain_cap" or "not_sampled", in this order. Same rows, language and settings, same frames.
    """
    taken = _Taken()
    rejected: list[_Rejection] = []
    for row in rows:
        candidate = _Candidate(_storable(row), language, settings)
        if verdict := _judge(candidate, taken):
            rejected.append(_rejection(candidate, verdict))
            continue
        taken.add(candidate)
        if len(taken.documents) == settings.limit:
            break
    return Selection(
        documents=pl.DataFrame(taken.documents, schema=DOCUMENT_SCHEMA, orient="row"),
        rejected=pl.DataFrame(_rejections(rejected, taken), schema=REJECTED_DOCUMENT_SCHEMA, orient="row"),
        scanned=len(taken.documents) + len(rejected),
    )


def _judge(candidate: _Candidate, taken: _Taken) -> _Verdict | None:
    return next(filter(None, (rule(candidate, taken) for rule in _RULES)), None)


def _fault(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    row = candidate.row
    return _Verdict(row.fault, evidence=row.fault_evidence) if row.fault is not None else None


def _empty_text(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    return None if candidate.text.strip() else _Verdict("empty_text")


def _other_language(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    row, language = candidate.row, candidate.language
    code, script = _label(row.language or "")
    accepted = {language.code, language.iso639_3, _MACROLANGUAGES.get(language.iso639_3)}
    scripts = {_script(found) for found in (script, row.language_script) if found}
    if (not code or code in accepted) and scripts <= {_script(language.script)}:
        return None
    found = (row.language, row.language_script)
    return _Verdict("other_language", evidence="_".join(part for part in found if part))


def _language_score(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    score, least = candidate.row.language_score, candidate.settings.min_language_score
    return None if score is None or score >= least else _Verdict("language_score", score, least)


def _too_short(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    chars, least = len(candidate.text), candidate.settings.min_chars
    return None if chars >= least else _Verdict("too_short", chars, least)


def _too_long(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    chars, most = len(candidate.text), candidate.settings.max_chars
    return None if chars <= most else _Verdict("too_long", chars, most)


def _cluster_size(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    size, most = candidate.row.minhash_cluster_size, candidate.settings.max_cluster_size
    return None if size is None or most is None or size <= most else _Verdict("cluster_size", size, most)


def _duplicate_document(candidate: _Candidate, taken: _Taken) -> _Verdict | None:
    first = taken.by_text.get(candidate.text_digest)
    return None if first is None else _Verdict("duplicate_document", evidence=first)


def _domain_cap(candidate: _Candidate, taken: _Taken) -> _Verdict | None:
    domain, most = candidate.domain, candidate.settings.per_domain
    if domain is None or most is None or taken.per_domain[domain] < most:
        return None
    return _Verdict("domain_cap", taken.per_domain[domain], most, evidence=domain)


def _not_sampled(candidate: _Candidate, _: _Taken) -> _Verdict | None:
    share = candidate.settings.sample_share
    return None if candidate.fraction < share else _Verdict("not_sampled", candidate.fraction, share)


_Rule = Callable[[_Candidate, _Taken], _Verdict | None]

_RULES: tuple[_Rule, ...] = (
    _fault,
    _empty_text,
    _other_language,
    _language_score,
    _too_short,
    _too_long,
    _cluster_size,
    _duplicate_document,
    _domain_cap,
    _not_sampled,
)


def _label(label: str) -> tuple[str, str | None]:
    """Split "spa", "spa_Latn" or "zh-Hans-CN" into the language and, where it is named, the script."""
    code, *others = label.strip().lower().replace("-", "_").split("_")
    return code, next((part for part in others if len(part) == _SCRIPT_LETTERS and part.isalpha()), None)


def _script(name: str) -> str:
    return _SCRIPTS.get(name.strip().lower(), name.strip().lower())


def _domain(url: str | None) -> str | None:
    try:
        host = urlsplit(url or "").hostname
    except ValueError:  # such as an unclosed bracket of an IPv6 address
        return None
    return host.removeprefix("www.").rstrip(".") or None if host else None


def _storable(row: SeedRow) -> SeedRow:
    """The row without what DuckDB and Parquet cannot hold in text: NUL and lone surrogates."""
    changed: dict[str, Any] = {}
    for column in _COLUMNS:
        value = getattr(row, column)
        if isinstance(value, str) and (clean := _clean(value)) != value:
            changed[column] = clean
    return replace(row, **changed) if changed else row


_COLUMNS = tuple(column.name for column in fields(SeedRow))


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")


def _document(candidate: _Candidate, *, rank: int) -> tuple[object, ...]:
    row = candidate.row
    evidence = json.dumps({"rank": rank, "sample": round(candidate.fraction, 6)})
    return (
        candidate.language.code,
        candidate.doc_id,
        candidate.text,
        row.url,
        row.file,
        row.source_id,
        row.row,
        row.license,
        row.kind,
        row.dump,
        row.date,
        row.language_score,
        row.minhash_cluster_size,
        len(candidate.text),
        candidate.domain,
        evidence,
    )


def _rejections(rejected: list[_Rejection], taken: _Taken) -> list[tuple[object, ...]]:
    # Named only now, so that a document keeps the id of its content even if a twin was rejected before.
    used = set(taken.by_text.values())
    records: list[tuple[object, ...]] = []
    for rejection in rejected:
        doc_id = rejection.content_id
        if doc_id is None or doc_id in used:
            doc_id = rejection.positional_id
        used.add(doc_id)
        records.append((rejection.lang, doc_id, *rejection.facts))
    return records


def _rejection(candidate: _Candidate, verdict: _Verdict) -> _Rejection:
    row = candidate.row
    facts = (
        row.file,
        row.source_id,
        row.row,
        row.url,
        verdict.reason,
        verdict.score,
        verdict.threshold,
        verdict.evidence,
        " ".join(candidate.text.split())[:_EXCERPT_CHARS] or None,
    )
    content_id = candidate.doc_id if row.source_id or candidate.text else None
    return _Rejection(candidate.language.code, content_id, candidate.positional_id, facts)
