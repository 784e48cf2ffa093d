"""Attention of dual numbers is fused attention, and its tangent the one of the formula."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from motionmatcher.features import dual_attention
from motionmatcher.features.dual_attention import (
    Attention,
    DualAttention,
    dual_attention_by,
    explicit_attention,
    fused_attention,
)

BOTH = pytest.mark.parametrize("attention", [explicit_attention, fused_attention])
QUERY, KEY, VALUE = (2, 3, 9, 4), (2, 3, 7, 4), (2, 3, 7, 5)


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def masks() -> dict[str, Tensor | None]:
    return {
        "none": None,
        "added": draw(2, 1, 1, 7),
        "booleans": (torch.arange(7) < 5)[None],
        "of all queries": draw(9, 7),
    }


def tangent(attention: Attention, *tensors: Tensor, steps: Any, **how: Any) -> tuple[Tensor, ...]:
    """What attention is and how it changes; inputs whose step is None are no dual numbers."""
    with torch.no_grad(), forward_ad.dual_level():
        duals = [
            tensor if step is None else forward_ad.make_dual(tensor, step)
            for tensor, step in zip(tensors, steps, strict=True)
        ]
        found = forward_ad.unpack_dual(attention(*duals, **how))
        assert found.tangent is not None
        return found.primal, found.tangent


@BOTH
@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("scale", [None, 0.3])
def test_either_way_is_torch_s_attention(
    attention: Attention, mask: str, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Explicit: 4 queries at a time.
    monkeypatch.setitem(dual_attention.MAX_PROBABILITIES, "cpu", 2 * 3 * 7 * 4)
    query, key, value, chosen = (
        draw(*QUERY),
        draw(*KEY, seed=2),
        draw(*VALUE, seed=3),
        masks()[mask],
    )
    expected = F.scaled_dot_product_attention(query, key, value, chosen, scale=scale)
    ours = attention(query, key, value, chosen, scale=scale)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)


@BOTH
@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("moving", ["all", "queries", "keys", "values"])
def test_either_tangent_is_the_change_over_a_small_step(
    attention: Attention, mask: str, scale: float | None, moving: str
) -> None:
    tensors = draw(*QUERY), draw(*KEY, seed=2), draw(*VALUE, seed=3)
    steps: list[Tensor | None] = [draw(*each.shape, seed=4 + i) for i, each in enumerate(tensors)]
    if moving != "all":
        steps = [
            step if i == ("queries", "keys", "values").index(moving) else None
            for i, step in enumerate(steps)
        ]
    how: dict[str, Any] = {"attn_mask": masks()[mask], "scale": scale}
    _, found = tangent(attention, *tensors, steps=steps, **how)
    size = 1e-5

    def moved(by: float) -> Tensor:
        query, key, value = (
            tensor if step is None else tensor + by * step
            for tensor, step in zip(tensors, steps, strict=True)
        )
        return explicit_attention(query, key, value, **how)

    expected = (moved(size) - moved(-size)) / (2 * size)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_a_tangent_by_hand() -> None:
    """Two keys, equal scores: both weigh 1/2, and a score that grows by e moves e/4 to its value."""
    query, key, value = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 2, 1)
    value[..., 1, 0] = 8
    grows = torch.tensor([0.0, 0.5]).reshape(1, 1, 2, 1)
    for attention in (explicit_attention, fused_attention):
        primal, found = tangent(attention, query, key, value, steps=[None, grows, None])
        assert (primal.item(), found.item()) == pytest.approx((4, 8 * 0.5 / 4))


@pytest.mark.parametrize(
    ("dtype", "fused"), [(torch.bfloat16, True), (torch.float16, True), (torch.float32, False)]
)
def test_half_precision_is_fused_on_a_cpu(
    dtype: torch.dtype, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for name in ("explicit_attention", "fused_attention"):
        inner = getattr(dual_attention, name)

        def told(*args: Any, name: str = name, inner: Attention = inner) -> Tensor:
            called.append(name)
            return inner(*args)

        monkeypatch.setattr(dual_attention, name, told)
    query, key, value = (draw(*shape, dtype=dtype) for shape in (QUERY, KEY, VALUE))
    with DualAttention():
        F.scaled_dot_product_attention(query, key, value)
    assert called == ["fused_attention" if fused else "explicit_attention"]


def test_a_way_can_be_asked_for() -> None:
    query, key, value = (draw(*shape) for shape in (QUERY, KEY, VALUE))
    asked = torch.zeros(1)
    with dual_attention_by(lambda *_: asked), DualAttention():
        assert F.scaled_dot_product_attention(query, key, value) is asked
    with DualAttention():
        assert F.scaled_dot_product_attention(query, key, value) is not asked


def test_fused_is_nearer_than_explicit_in_half_precision() -> None:
    tensors = [draw(1, 2, 64, 32, seed=seed) for seed in range(6)]
    _, exact = tangent(explicit_attention, *tensors[:3], steps=tensors[3:])
    half = [tensor.bfloat16() for tensor in tensors]
    errors = [
        (tangent(attention, *half[:3], steps=half[3:])[1].double() - exact).norm() / exact.norm()
        for attention in (fused_attention, explicit_attention)
    ]
    assert errors[0] < errors[1] < 0.02


def test_torch_s_attention_takes_no_dual_numbers() -> None:
    """Why all this is there; when this fails, it may go."""
    query = draw(1, 1, 4, 8)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward"):
        F.scaled_dot_product_attention(forward_ad.make_dual(query, query), query, query)
