"""Count the FLOPs and the peak memory of whatever runs in a block, on real or on fake tensors.

Fake tensors have shape, dtype and device but no numbers, so that a step of any size can be measured
on any machine in seconds.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _fused_attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


# Operator -> FLOPs of a call: torch's own, and fused attention on the CPU, which it does not know.
_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: _fused_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_attention_backward,
}


class CostMeter(TorchDispatchMode):
    """Counts the FLOPs, and the memory of the tensors that are made within the block.

    FLOPs are those of matrix products, convolutions and attention by the formulas of torch's
    counter, two per multiply-add. Memory is that of tensors: what an operator needs inside itself
    (workspaces of convolutions, above all) and what an allocator loses does not show.

    Attributes:
        flops: So far.
        live_bytes: Of the tensors made within the block that are there now.
        peak_bytes: The most that there have been at once, since the block began or since it was set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.live_bytes = 0
        self.peak_bytes = 0
        self._storages: dict[int, weakref.ref] = {}
        # Of what is repeated: how often, and FLOPs, live and peak bytes where it begins.
        self._repeated: tuple[int, int, int, int] | None = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].device  # two of three calls: a fake tensor is asked where it is
        kwargs = kwargs or {}
        if func is aten._efficientzerotensor.default and args[0]:
            # Forward mode's zeros that take no memory end up on a wrong device as fake tensors.
            func = aten.zeros.default
        result = func(*args, **kwargs)
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._watch(tensor)
        return result

    @contextmanager
    def counting_times(self, number: int) -> Iterator[None]:
        """Count the FLOPs of the block as if it were run a number of times."""
        found = self.flops
        yield
        self.flops = found + number * (self.flops - found)

    def repeat(self, times: int) -> None:
        """Count all from here to the next call as if it came a number of times, one after the other.

        What it leaves in memory, or takes out of it, each time does so anew.

        Args:
            times: How often; 1 ends a repetition.
        """
        if self._repeated is not None:
            number, flops, live, peak = self._repeated
            growth = (number - 1) * (self.live_bytes - live)
            self.flops += (number - 1) * (self.flops - flops)
            self.live_bytes += growth
            self.peak_bytes = max(peak, self.peak_bytes + max(growth, 0))
            self._repeated = None
        if times > 1:
            self._repeated = times, self.flops, self.live_bytes, self.peak_bytes
            self.peak_bytes = self.live_bytes

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def release(_: Any) -> None:
            del self._storages[key]
            self.live_bytes -= size

        self._storages[key] = weakref.ref(storage, release)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Sum up the memory of tensors."""
    return sum(tensor.nbytes for tensor in tensors)
