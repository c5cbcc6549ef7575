"""The checksum that every stored answer carries, so that damage is found even where SQLite sees none."""

import hashlib
import json
from collections.abc import Sequence

from persona_assets.llm.requests import ANSWER_FIELDS

_LATENCY = ANSWER_FIELDS.index("latency_s")


def seal(values: Sequence[object]) -> str:
    """64 bits of BLAKE2b over the stored fields of an answer, in the order of `Answer`, as 16 hex digits.

    The values are hashed as the ledger gives them back: SQLite makes a whole latency a real number.
    """
    latency = values[_LATENCY]
    kept = [*values[:_LATENCY], float(latency) if isinstance(latency, int) else latency, *values[_LATENCY + 1 :]]
    canonical = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()
