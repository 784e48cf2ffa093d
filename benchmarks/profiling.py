"""What a call takes, by torch's profiler, and what memory the whole process has had."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

Result = TypeVar("Result")
# What every step of the method has to multiply; as the profiler names them.
_PRODUCTS = {
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::convolution",
    "aten::convolution_backward",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
}
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would say on stderr that it starts and stops


@dataclass(frozen=True)
class Profile(Generic[Result]):
    """What a call took.

    Attributes:
        result: The call's.
        peak_bytes: The most memory that it took at once, beyond what there was before it.
        product_seconds: Time in matrix products, convolutions and fused attention; None on a GPU.
    """

    result: Result
    peak_bytes: int
    product_seconds: float | None


def profiled(call: Callable[[], Result], device: torch.device) -> Profile[Result]:
    """Run a call and measure what it takes.

    On the CPU every operation and every allocation of torch's allocator is recorded, and the call is
    slower for it: do not time it. Scratch memory that oneDNN and BLAS take for themselves is not
    torch's.

    Args:
        call: What is measured.
        device: Where it computes.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        torch.cuda.synchronize(device)
        return Profile(result, torch.cuda.max_memory_allocated(device) - before, None)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    products = [event for event in profiler.events() if event.name in _PRODUCTS]
    microseconds = sum(event.cpu_time_total for event in products if not _within_product(event))
    return Profile(result, peak, microseconds / 1e6)


def _within_product(event: Any) -> bool:
    """Tell whether a product is part of another, as a convolution's matrix product is."""
    while (event := event.cpu_parent) is not None:
        if event.name in _PRODUCTS:
            return True
    return False


def peak_resident() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
