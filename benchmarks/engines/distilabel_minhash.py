"""distilabel's MinHashDedup step, on words."""

import harness
from distilabel.steps import MinHashDedup


def deduplicate(texts):
    step = MinHashDedup(tokenizer="words", threshold=0.7, storage="dict")
    step.load()
    rows = [{"text": text} for text in texts]
    result = next(step.process(rows))
    return {"kept": [at for at, row in enumerate(result) if row["keep_row_after_minhash_filtering"]]}


harness.run(deduplicate)
