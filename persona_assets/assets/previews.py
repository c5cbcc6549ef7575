"""Dagster features in preview that the platform uses knowingly."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from dagster import BetaWarning, PreviewWarning


@contextmanager
def accepted() -> Iterator[None]:
    """Silence the preview warnings of the definitions in the block; a user of ours cannot act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=PreviewWarning)
        warnings.simplefilter("ignore", category=BetaWarning)
        yield
