"""No progress bar of the transformers library among ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging


@contextmanager
def without_transformers_bars() -> Iterator[None]:
    """Keep transformers' bar of a second or less from standing among ours."""
    found = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if found:
            transformers_logging.enable_progress_bar()
