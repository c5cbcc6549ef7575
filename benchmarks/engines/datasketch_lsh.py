"""datasketch as its documentation uses it: query the index, insert what has no match."""

import re

import harness
from datasketch import MinHash, MinHashLSH  # noqa: TID253  (what is measured)

WORD = re.compile(r"\w+")


def deduplicate(texts):
    index = MinHashLSH(threshold=0.7, num_perm=128)
    kept = []
    for row, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([word.encode() for word in set(WORD.findall(text.lower()))])
        if not index.query(sketch):
            index.insert(row, sketch)
            kept.append(row)
    return {"kept": kept}


harness.run(deduplicate)
