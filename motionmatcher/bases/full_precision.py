"""Compute in fp32 with weights that are stored in half precision."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_WEIGHTED = {F.linear, F.conv2d, F.conv3d, F.group_norm, F.layer_norm, F.rms_norm, torch.rms_norm}


class FullPrecisionLayers(TorchFunctionMode):
    """Upcasts half-precision weights to fp32 at the layer that uses them, one layer at a time."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _WEIGHTED:
            args = tuple(_upcast(argument) for argument in args)
            kwargs = {name: _upcast(argument) for name, argument in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))


def _upcast(argument: Any) -> Any:
    if isinstance(argument, Tensor) and argument.dtype in (torch.float16, torch.bfloat16):
        return argument.float()
    return argument
