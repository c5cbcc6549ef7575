"""This project: `persona_assets.dedup`, from texts to kept rows."""

import harness
import numpy as np

from persona_assets.dedup import keep, minhash


def deduplicate(texts):
    found = minhash.similar_pairs(texts, "words", threshold=0.7, floor=0.7)
    fates = keep.keep(np.arange(len(texts)), found.edges, 0.7)
    return {
        "kept": np.flatnonzero(fates.kept).tolist(),
        "pairs": [found.edges.left.tolist(), found.edges.right.tolist()],
    }


harness.run(deduplicate)
