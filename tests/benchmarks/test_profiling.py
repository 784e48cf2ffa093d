"""The profiler's events are read right; what it measures of a step is in test_step.py."""

from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.profiling import _outermost_ns, profiled


def event(begin: int, end: int, thread: int = 1) -> Any:
    values = {"start_ns": begin, "duration_ns": end - begin, "start_thread_id": thread}
    return SimpleNamespace(**{name: lambda value=value: value for name, value in values.items()})


def test_products_within_products_count_once() -> None:
    convolution, inner, last = event(10, 30), event(10, 20), event(25, 30)
    following, elsewhere = event(30, 37), event(15, 16, thread=2)
    assert _outermost_ns([last, inner, convolution, following, elsewhere]) == 20 + 7 + 1


def test_products_and_their_memory_are_seen() -> None:
    matrix = torch.ones(64, 64)
    found = profiled(lambda: matrix @ matrix @ matrix, torch.device("cpu"))
    assert found.peak_bytes == 2 * matrix.nbytes
    assert found.product_seconds is not None
    assert 0 < found.product_seconds < 1
