"""This project: `persona_assets.dedup`, from texts to kept rows."""

import harness
import numpy as np

from persona_assets.dedup import minhash, settled


def deduplicate(texts):
    found = minhash.similar_pairs(texts, "words", threshold=0.7, floor=0.7)
    fates = settled.keep_one(np.arange(len(texts)), found, 0.7).fates
    return {
        "kept": np.flatnonzero(fates.kept).tolist(),
        "pairs": [found.edges.left.tolist(), found.edges.right.tolist()],
    }


# Boilerplate takes kernels of its own, which are to be compiled before the clock starts as well.
deduplicate([f"one sentence of an assistant is like the other {n}" for n in range(3000)])
harness.run(deduplicate)
