"""Attention of dual numbers, which torch's fused attention does not take, in two ways.

*Explicit*: by its formula, a slice of queries at a time. Of N queries and keys it forms all N x N
probabilities and their tangents, in several passes over memory.

*Fused*: by fused attention alone, which keeps none of them and sums in fp32 in half precision as well, for
2.4 times the FLOPs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from motionmatcher.features.attention_maps import probabilities
from motionmatcher.features.watching import AttentionMode, scaled

_Value = TypeVar("_Value")

# Probabilities that explicit attention forms at a time, which bounds its memory; a GPU's matrix units
# want more rows than a CPU's cache.
MAX_PROBABILITIES = {"cpu": 2**25, "cuda": 2**27}


class DualAttention(AttentionMode):
    """Lets all attention within the block take dual numbers."""

    def attend(self, *args: Any, **kwargs: Any) -> Tensor:
        return _attention.get()(*args, **kwargs)


def quicker_attention(
    query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Attend in the way that was measured to be quicker; explicitly where nobody has.

    On one CPU thread fused takes 0.85 of explicit's time in bf16 (12 heads, 1,560 tokens of width 128; 0.53
    of 4 heads, 512 tokens, width 32) at 0.6 of its error (0.5), and 1.4 of it in fp32.
    `python -m benchmarks.gpu` measures both on a GPU.
    """
    dtypes = {query.dtype, key.dtype, value.dtype}
    half = dtypes in ({torch.bfloat16}, {torch.float16})
    fused = half and query.device.type == "cpu"
    return (fused_attention if fused else explicit_attention)(query, key, value, *args, **kwargs)


Attention = Callable[..., Tensor]  # as F.scaled_dot_product_attention
_attention: ContextVar[Attention] = ContextVar("_attention", default=quicker_attention)


def dual_attention_by(attention: Attention) -> AbstractContextManager[None]:
    """Have dual numbers attend in a way within the block, as to measure it."""
    return _set_within(_attention, attention)


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What `F.scaled_dot_product_attention` computes, and its tangent by it.

    Args and what it returns as of `explicit_attention`; no gradient flows through.
    """
    _check_plain(dropout_p, is_causal, enable_gqa)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return _FusedDual.apply(query, key, value, attn_mask, scale)


class _FusedDual(torch.autograd.Function):
    """Fused attention with a forward mode.

    For scores `S = c Q K^T` and probabilities P, the output `O = P V` has the tangent

        dO = P dV + [P o (dS - rowsum(P o dS))] V  with  dS = c (dQ K^T + Q dK^T).

    The second term is a part of a gradient that fused attention has: that of the queries [Q, 0], with keys
    [K, V], values [K, dK] and the output's gradient [dQ, Q].
    """

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask, scale=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.scale = inputs
        ctx.save_for_forward(*tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        query, key, value, mask = ctx.saved_tensors
        of_query, of_key, of_value = (
            torch.zeros_like(tensor) if tangent is None else tangent
            for tensor, tangent in zip((query, key, value), tangents[:3], strict=True)
        )
        with torch.enable_grad():
            none = query.new_zeros(*query.shape[:-1], value.shape[-1])
            wide = torch.cat([query, none], dim=-1).detach().requires_grad_()
            keys, values = torch.cat([key, value], dim=-1), torch.cat([key, of_key], dim=-1)
            attended = F.scaled_dot_product_attention(wide, keys, values, mask, scale=ctx.scale)
        cotangent = torch.cat([of_query, query], dim=-1)
        (gradient,) = torch.autograd.grad(attended, wide, cotangent)
        with_values = F.scaled_dot_product_attention(query, key, of_value, mask, scale=ctx.scale)
        return with_values + gradient[..., query.shape[-1] :]


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What `F.scaled_dot_product_attention` computes, by its formula, a slice of queries at a time.

    The slices bound the memory where no graph is kept.

    Args:
        query: (B, H, N, d).
        key: (B, H, M, d).
        value: (B, H, M, D).
        attn_mask: Added to the scores, or where to attend, as booleans; broadcast to (B, H, N, M).
        dropout_p: Has to be 0.
        is_causal: Has to be false.
        scale: Of the scores; None for `1 / sqrt(d)`.
        enable_gqa: Has to be false.

    Returns:
        (B, H, N, D).
    """
    _check_plain(dropout_p, is_causal, enable_gqa)
    query = scaled(query, scale)
    num_queries, num_keys = query.shape[-2], key.shape[-2]
    most = MAX_PROBABILITIES.get(query.device.type, MAX_PROBABILITIES["cpu"])
    size = max(most // (query[..., 0, 0].numel() * num_keys), 1)
    masks: Sequence[Tensor | None] = [None] * num_queries
    if attn_mask is not None:
        masks = attn_mask.expand(*attn_mask.shape[:-2], num_queries, num_keys).split(size, dim=-2)

    def attend_slice(rows: Tensor, mask: Tensor | None) -> Tensor:
        return probabilities(rows, key, mask) @ value

    slices = zip(query.split(size, dim=-2), masks, strict=False)
    return _slicing.get()(attend_slice, list(slices))


def _check_plain(dropout_p: float, is_causal: bool, enable_gqa: bool) -> None:
    """Check that attention is asked for nothing that no base has."""
    assert not dropout_p
    assert not is_causal
    assert not enable_gqa


Slices = Sequence[tuple[Tensor, Tensor | None]]
# ((rows of queries, mask) -> (B, H, rows, D), all such slices) -> (B, H, N, D)
Slicing = Callable[[Callable[[Tensor, Tensor | None], Tensor], Slices], Tensor]


def _one_after_the_other(
    attend_slice: Callable[[Tensor, Tensor | None], Tensor], slices: Slices
) -> Tensor:
    return torch.cat([attend_slice(*each) for each in slices], dim=-2)


_slicing: ContextVar[Slicing] = ContextVar("_slicing", default=_one_after_the_other)


def slicing_by(slicing: Slicing) -> AbstractContextManager[None]:
    """Run the slices of explicit attention within the block by a function, such as one that counts."""
    return _set_within(_slicing, slicing)


@contextmanager
def _set_within(variable: ContextVar[_Value], value: _Value) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
