"""Measured memory: of torch's allocator, exactly, and of the whole process."""

import os
import resource
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

Result = TypeVar("Result")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would say on stderr that it starts and stops


def peak_allocated(call: Callable[[], Result], device: torch.device) -> tuple[Result, int]:
    """Measure the most memory that a call takes at once, beyond what there is before it.

    On the CPU every allocation of torch's allocator is recorded, and the call is slower for it: do
    not time it. Scratch memory that oneDNN and BLAS take for themselves is not torch's.

    Args:
        call: What is measured.
        device: Where it computes.

    Returns:
        The call's result and bytes.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        torch.cuda.synchronize(device)
        return result, torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return result, peak


def peak_resident() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
