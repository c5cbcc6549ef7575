"""rensa's deduplicator, tokens from Python as its README does it."""

import re

import harness
from rensa import RMinHash, RMinHashDeduplicator

WORD = re.compile(r"\w+")


def deduplicate(texts):
    seen = RMinHashDeduplicator(threshold=0.7, num_perm=128, use_lsh=True)
    kept = []
    for row, text in enumerate(texts):
        sketch = RMinHash(num_perm=128, seed=42)
        sketch.update(list(set(WORD.findall(text.lower()))))
        if seen.add(str(row), sketch):
            kept.append(row)
    return {"kept": kept}


harness.run(deduplicate)
