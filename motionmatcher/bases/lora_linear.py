"""The LoRA of a Linear as one step of autograd: peft's maths, with less memory and fewer passes over it.

`y = x W^T + b + s (m * x / (1 - p)) A^T B^T`, with m the dropout mask of probability p and s the scale.

peft's own forward keeps of each LoRA the dropped input and the mask, both as large as the input and
in its precision, and scales and adds the LoRA's share in passes of their own. Here the input itself is
kept, which a query, a key and a value share, and the mask in bytes; the share is added by its second
matrix product, and all scales act on the narrow product between. It has no forward mode (jvp):
`separate_lora` goes back to peft's own operations, which have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_WORD = 2**16  # values of the 16 random bits that decide over one element


def join_lora(denoiser: nn.Module) -> None:
    """Let the LoRAs of all Linears in a denoiser compute in one step; their weights stay peft's."""
    for layer in denoiser.modules():
        if isinstance(layer, PeftLinear):
            layer.forward = MethodType(_joined_forward, layer)


@contextmanager
def separate_lora(denoiser: nn.Module) -> Iterator[None]:
    """Compute LoRAs by peft's own forward within the block."""
    joined = [module for module in denoiser.modules() if isinstance(module, PeftLinear)]
    found = [vars(layer).pop("forward", None) for layer in joined]
    try:
        yield
    finally:
        for layer, forward in zip(joined, found, strict=True):
            if forward is not None:
                vars(layer)["forward"] = forward


def _joined_forward(layer: Any, x: Tensor) -> Tensor:
    is_plain = len(layer.active_adapters) == 1 and not layer.lora_variant
    if layer.merged or layer.disable_adapters or not is_plain:
        return PeftLinear.forward(layer, x)
    (adapter,) = layer.active_adapters
    dropout = layer.lora_dropout[adapter]
    joined: Tensor = _LoraLinear.apply(
        x,
        layer.base_layer.weight,
        layer.base_layer.bias,
        layer.lora_A[adapter].weight,
        layer.lora_B[adapter].weight,
        layer.scaling[adapter],
        dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0,
    )
    return joined


def draw_mask(like: Tensor, probability: float) -> Tensor:
    """Draw which elements dropout keeps, from torch's default generator.

    Args:
        like: Gives shape and device.
        probability: Of dropping an element, to the next 1 / 65536 as `kept_share` tells.

    Returns:
        Bool, True for what is kept.
    """
    share = kept_share(probability)
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.empty(like.shape, dtype=torch.bool, device=like.device).bernoulli_(share)
    # Four elements a draw: bernoulli_ on the CPU takes five times as long as this. The compiler has no
    # random_ of its own.
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: like.numel()]
    return (bits < round(share * _WORD) - _WORD // 2).view(like.shape)


def kept_share(probability: float) -> float:
    """Give the exact probability with which an element is kept."""
    return round((1 - probability) * _WORD) / _WORD


class _LoraLinear(torch.autograd.Function):
    """A frozen Linear with its LoRA. Axes: N all but the last, I inputs, O outputs, R rank."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scaling: float,
        probability: float,
    ) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        share = kept_share(probability)
        mask = draw_mask(x, probability) if share < 1 else None
        scale = scaling / share
        with torch.autocast(device, enabled=False):
            result = F.linear(
                x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
            )  # (…, O)
            narrow = scale * (_dropped(x, mask, dtype) @ down.to(dtype).T)  # (N, I) x (I, R)
            joined = torch.addmm(result.flatten(0, -2), narrow, up.to(dtype).T)  # (N, R) x (R, O)
        ctx.save_for_backward(x, mask, narrow, weight, down, up)
        ctx.scale, ctx.dtype = scale, dtype
        return joined.view(result.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, narrow, weight, down, up = ctx.saved_tensors
        dtype: torch.dtype = ctx.dtype
        with torch.autocast(x.device.type, enabled=False):
            outer = gradient.to(dtype).reshape(-1, gradient.shape[-1])  # (N, O)
            inner = ctx.scale * (outer @ up.to(dtype))  # (N, O) x (O, R)
            up_gradient = (outer.T @ narrow).to(up.dtype)  # (O, N) x (N, R)
            down_gradient = (inner.T @ _dropped(x, mask, dtype)).to(down.dtype)  # (R, N) x (N, I)
            x_gradient = None
            if ctx.needs_input_grad[0]:
                x_gradient = outer @ weight.to(dtype)  # (N, O) x (O, I)
                share = inner @ down.to(dtype)  # (N, R) x (R, I)
                if mask is None:
                    x_gradient += share
                else:
                    x_gradient.addcmul_(share, mask.view(share.shape).to(dtype))
                x_gradient = x_gradient.view(x.shape).to(x.dtype)
        return x_gradient, None, None, down_gradient, up_gradient, None, None


def _dropped(x: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Give the input (N, I) with what is dropped at 0; the rest is not scaled."""
    kept = x.to(dtype) if mask is None else torch.where(mask, x.to(dtype), 0.0)
    return kept.flatten(0, -2)
