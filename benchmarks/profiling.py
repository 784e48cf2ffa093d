"""What a call takes, by torch's profiler, and what memory the whole process has had."""

import os
import resource
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
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
    # Not profiler.events(): to make Python objects of all that was recorded takes longer than the call.
    events = recorded.kineto_results.events()
    live = peak = 0
    for event in sorted(_named(events, {"[memory]"}), key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return Profile(result, peak, _outermost_ns(_named(events, _PRODUCTS)) / 1e9)


def _named(events: Iterable[Any], names: Set[str]) -> list[Any]:
    return [event for event in events if event.name() in names]


def _outermost_ns(events: Iterable[Any]) -> int:
    """Sum the time of events, but for those within another, as a convolution's matrix product is."""
    total, ends = 0, defaultdict[int, int](int)  # thread -> where its last counted event ends
    for event in sorted(events, key=lambda event: (event.start_ns(), -event.duration_ns())):
        thread, begin = event.start_thread_id(), event.start_ns()
        if begin >= ends[thread]:
            total += event.duration_ns()
            ends[thread] = begin + event.duration_ns()
    return total


def peak_resident() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
