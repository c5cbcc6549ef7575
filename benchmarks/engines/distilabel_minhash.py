"""distilabel's MinHashDedup step, on words.

Its own word tokenizer downloads NLTK data when it runs; the words are cut by a regular expression here.
"""

import re

import harness
from distilabel.steps import MinHashDedup

WORD = re.compile(r"\w+")


def words(texts):
    return [{word.encode() for word in WORD.findall(text.lower())} for text in texts]


def deduplicate(texts):
    step = MinHashDedup(tokenizer="ngrams", threshold=0.7, storage="dict")
    step.load()
    step._tokenizer = words  # noqa: SLF001
    rows = [{"text": text} for text in texts]
    result = next(step.process(rows))
    return {"kept": [at for at, row in enumerate(result) if row["keep_row_after_minhash_filtering"]]}


harness.run(deduplicate)
