"""What is asked of a language model, and the key under which its answer is kept."""

import hashlib
import json
import json.encoder
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class ResponseFormat:
    """The form asked of the answer: `kind` as in the OpenAI API, and the JSON schema if there is one."""

    kind: Literal["json_schema", "json_object", "none"]
    name: str = "reply"
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Request:
    """One question to a model. `origin` names the row it is asked for (a document, a persona).

    An `optional` one may fail without counting towards `max_failed_share`.
    """

    stage: str
    lang: str
    origin: str
    model: str
    messages: Sequence[Message]
    response_format: ResponseFormat
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 2048
    sample: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    optional: bool = field(default=False, compare=False)

    @cached_property
    def key(self) -> str:
        """The answer key: 128 bits of BLAKE2b over everything that shapes the answer, as 32 hex digits.

        `max_tokens` is not part of it, so that raising the limit asks again only for answers that
        were cut off; neither are `facts`, which only carry what the caller wants back, and `optional`.
        """
        form = self.response_format
        # Canonical JSON (sorted keys, no spaces), put together by hand: keys are made by the million.
        shape = _canonical([form.kind, form.schema if form.kind == "json_schema" else None])
        said = ",".join([f"[{_quoted(message.role)},{_quoted(message.content)}]" for message in self.messages])
        canonical = (
            f'{{"format":{shape},"messages":[{said}],"model":{_quoted(self.model)},"sample":{self.sample:d},'
            f'"sampling":[{self.temperature!r},{self.top_p!r}]}}'
        )
        return hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What a model answered, as it is kept in the ledger.

    `latency_s` is in seconds; token counts are the endpoint's own, None where it reports none;
    `answered_at` is ISO 8601 in UTC.
    """

    key: str
    text: str
    finish_reason: str
    max_tokens: int
    model: str
    endpoint: str
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    attempts: int = 1
    answered_at: str = ""

    @property
    def truncated(self) -> bool:
        """Whether the token limit cut the answer off."""
        return self.finish_reason == "length"

    def serves(self, request: Request) -> bool:
        """Whether this answer may stand for `request`: it finished by itself, or had at least the room."""
        return not self.truncated or self.max_tokens >= request.max_tokens


@dataclass(frozen=True)
class Failure:
    """A request that ended without an answer: its class, how often it was tried, the last message.

    A permanent failure (the endpoint refuses this very request) is not asked again; others are, at
    the next run.
    """

    key: str
    kind: str
    message: str
    attempts: int
    permanent: bool
    failed_at: str = ""


ANSWER_FIELDS = tuple(column.name for column in fields(Answer))

Outcome = Answer | Failure
