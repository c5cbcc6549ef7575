"""Who stays where several personas are alike."""

import numpy as np
import polars as pl
from numpy.typing import NDArray


def priority(filtered: pl.DataFrame) -> NDArray[np.int64]:
    """Order row indices by who stays first: near to a document, sure of its language, then by id."""
    order = (
        filtered.with_row_index("index")
        .sort(
            pl.col("hop"),
            -pl.col("language_score").round(3),
            pl.col("persona_id"),
        )["index"]
        .to_numpy()
    )
    return order.astype(np.int64)
