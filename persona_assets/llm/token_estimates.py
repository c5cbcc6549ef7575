"""How many tokens a text has, before any tokenizer has seen it: estimates by script, with their ranges.

The figures are round numbers that span the byte-pair vocabularies in use (100,000 tokens and older at the
expensive end, 200,000 and more at the cheap one); they serve until the ledger holds answers of the model,
whose own counts replace them (`calibrated`).
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from persona_assets.llm.requests import Request
from persona_assets.ranges import Range

# Tokens that a chat template puts around each message.
_MESSAGE_TOKENS = Range(2, 5, 12)
# Some endpoints show the model the JSON schema of the reply, and count it; most of them do not.
_SCHEMA_BYTES_PER_TOKEN = 3.0


@dataclass(frozen=True)
class Script:
    """UTF-8 bytes to a token of text in this script, and the bytes of a text relative to Latin script."""

    bytes_per_token: Range
    size: float


_SCRIPTS = {
    "Latn": Script(Range(2.6, 3.7, 4.8), 1.0),
    "Hani": Script(Range(2.4, 3.7, 4.8), 0.85),
    "Arab": Script(Range(2.2, 4.0, 5.4), 1.4),
    "Cyrl": Script(Range(3.2, 5.0, 6.6), 1.75),
    "Grek": Script(Range(2.2, 4.0, 6.0), 1.85),
    "Deva": Script(Range(2.4, 6.0, 8.6), 2.4),
    "Hang": Script(Range(2.6, 4.2, 5.4), 1.2),
    "Jpan": Script(Range(2.4, 3.7, 4.8), 1.2),
}
_OTHER = Script(Range(2.0, 4.0, 7.0), 1.7)

# Bytes of a reply in Latin script: the means of the bundled recorded answers, whose range of sizes by
# model is a guess; a conversation's are those of one exchange.
_REPLY_BYTES = {
    "text_to_persona": Range.around(295, 0.5, 2.2),
    "persona_to_persona": Range.around(350, 0.5, 2.2),
    "conversation": Range.around(970, 0.3, 2.0),
}


def script_of(name: str) -> Script:
    """The figures for a script of `languages.toml` (ISO 15924); cautious ones where it is not listed."""
    return _SCRIPTS.get(name, _OTHER)


def prompt_bytes(request: Request) -> int:
    """UTF-8 bytes of a request's messages."""
    return sum(len(message.content.encode("utf-8", "surrogatepass")) for message in request.messages)


def prompt_tokens(mean_bytes: float, like: Request, bytes_per_token: Range, *, calibrated: bool) -> Range:
    """Mean tokens of prompts.

    Args:
        mean_bytes: their mean size (`prompt_bytes`).
        like: one of the requests.
        bytes_per_token: of their language and model.
        calibrated: whether the rate is from the endpoint's own counts, which have all overhead in them.
    """
    text = Range(
        mean_bytes / bytes_per_token.high,
        mean_bytes / bytes_per_token.expected,
        mean_bytes / bytes_per_token.low,
    )
    return text if calibrated else text + _overhead(like)


def reply_tokens(stage: str, script: str, bytes_per_token: Range, *, exchanges: float, max_tokens: int) -> Range:
    """Mean tokens of a reply where none has been seen yet.

    Args:
        stage: the question asked.
        script: ISO 15924.
        bytes_per_token: of their language and model.
        exchanges: mean number of user-assistant pairs of a conversation.
        max_tokens: no reply is longer.
    """
    factor = script_of(script).size * (exchanges if stage == "conversation" else 1.0)
    size = _REPLY_BYTES[stage].times(factor)
    tokens = Range(
        size.low / bytes_per_token.high,
        size.expected / bytes_per_token.expected,
        size.high / bytes_per_token.low,
    )
    return tokens.at_most(max_tokens)


def persona_bytes(script: str) -> int:
    """UTF-8 bytes of a typical persona in this script, of which prompts are made until there are real ones."""
    return round(260 * script_of(script).size)


def calibrated(counted: Iterable[tuple[int, int]]) -> Range | None:
    """Bytes to a token, from pairs of prompt bytes and the endpoint's count; None without any."""
    pairs = [(size, tokens) for size, tokens in counted if size > 0 and tokens > 0]
    if not pairs:
        return None
    rate = sum(size for size, _ in pairs) / sum(tokens for _, tokens in pairs)
    error = 0.03 + 0.3 / math.sqrt(len(pairs))
    return Range.around(rate, 1 - min(error, 0.9), 1 + error)


def _overhead(request: Request) -> Range:
    form = request.response_format
    schema = len(json.dumps(form.schema)) / _SCHEMA_BYTES_PER_TOKEN if form.kind == "json_schema" else 0.0
    return _MESSAGE_TOKENS.times(len(request.messages)) + Range(0, 0, schema)
