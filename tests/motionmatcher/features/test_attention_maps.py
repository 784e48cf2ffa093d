"""Maps of queries and keys equal their explicit forms, derivatives and all."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from motionmatcher.features.attention_maps import (
    Grid,
    cross_attention,
    flow,
    frame_mass,
    probabilities,
    same_place,
)
from motionmatcher.features.dual_attention import explicit_attention

GRID = Grid(frames=3, height=2, width=5)
BATCH, HEADS, WIDTH, PLACES = 2, 4, 8, 10
TOKENS = GRID.frames * PLACES
Map = Callable[[Tensor, Tensor], Tensor]


def draw(count: int, tokens: int = TOKENS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (BATCH, HEADS, tokens, WIDTH)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def full(query: Tensor, key: Tensor) -> Tensor:
    """All N x N probabilities (B, H, N, F, h, w), keys by frame, row and column."""
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / WIDTH**0.5
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return weights.unflatten(-1, tuple(GRID))


def explicit_same_place(query: Tensor, key: Tensor) -> Tensor:
    weights = full(query, key).flatten(-2).unflatten(2, (GRID.frames, PLACES))  # (B,H,F,P,F,P)
    maps = torch.diagonal(weights, dim1=3, dim2=5)  # (B, H, F, F, P)
    maps = maps / maps.sum(3, keepdim=True)
    return maps.mean(1).permute(0, 3, 1, 2)


def explicit_frame_mass(query: Tensor, key: Tensor) -> Tensor:
    return full(query, key).sum((-2, -1)).mean(1)


def explicit_flow(query: Tensor, key: Tensor) -> Tensor:
    weights = full(query, key)
    weights = weights / weights.sum((-2, -1), keepdim=True)
    column = torch.linspace(-0.4, 0.4, GRID.width, dtype=torch.float64)
    row = torch.tensor([-0.25, 0.25], dtype=torch.float64)[:, None]
    moments = [(weights * position).sum((-2, -1)) for position in (column, row)]
    return torch.stack(moments, dim=-1).mean(1)


MAPS: dict[str, tuple[Map, Map, tuple[int, ...]]] = {
    "same_place": (
        partial(same_place, grid=GRID),
        explicit_same_place,
        (BATCH, PLACES, GRID.frames, GRID.frames),
    ),
    "frame_mass": (
        partial(frame_mass, grid=GRID),
        explicit_frame_mass,
        (BATCH, TOKENS, GRID.frames),
    ),
    "flow": (partial(flow, grid=GRID), explicit_flow, (BATCH, TOKENS, GRID.frames, 2)),
}


@pytest.mark.parametrize("kind", MAPS)
def test_temporal_maps_are_those_of_full_attention(kind: str) -> None:
    ours, explicit, shape = MAPS[kind]
    query, key = draw(2)
    maps = ours(query, key)
    assert maps.shape == shape
    assert maps.std() > 1e-3, "uniform maps would be equal as well"
    torch.testing.assert_close(maps, explicit(query, key), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", MAPS)
def test_their_gradients_are_those_of_full_attention(kind: str) -> None:
    ours, explicit, shape = MAPS[kind]
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = []
    for maps in (ours, explicit):
        query, key = (tensor.requires_grad_() for tensor in draw(2))
        gradients.append(torch.autograd.grad((maps(query, key) * weights).sum(), [query, key]))
    for our, expected in zip(*gradients, strict=True):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(our, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", MAPS)
def test_their_tangents_are_those_of_full_attention(kind: str) -> None:
    ours, explicit, _ = MAPS[kind]
    if kind != "same_place":
        assert isinstance(ours, partial)
        ours = partial(ours, attend=explicit_attention)
    query, key, query_step, key_step = draw(4)
    with forward_ad.dual_level():
        duals = forward_ad.make_dual(query, query_step), forward_ad.make_dual(key, key_step)
        tangents = [forward_ad.unpack_dual(maps(*duals)).tangent for maps in (ours, explicit)]
    assert tangents[1].abs().max() > 1e-3
    torch.testing.assert_close(tangents[0], tangents[1], rtol=0, atol=1e-13)


def test_shares_of_frames_and_places_by_hand() -> None:
    """One head; every key of frame 1's last place is ln 3 above the others, which are equal."""
    grid = Grid(frames=2, height=1, width=2)
    query = torch.ones(1, 1, 4, 1, dtype=torch.float64)
    key = torch.tensor([0.0, 0.0, 0.0, 3.0], dtype=torch.float64).log().clamp(min=0)
    key = key.reshape(1, 1, 4, 1)
    assert frame_mass(query, key, grid)[0, 0].tolist() == pytest.approx([2 / 6, 4 / 6])
    # Columns are at -1/4 and 1/4; the one row at 0.
    assert flow(query, key, grid)[0, 0].flatten().tolist() == pytest.approx([0, 0, 0.125, 0])
    assert same_place(query, key, grid)[0, :, 0].flatten().tolist() == pytest.approx(
        [0.5, 0.5, 0.25, 0.75]
    )


def test_a_frame_without_attention_has_no_flow_and_no_nan() -> None:
    query, key = (tensor[:, :, :, :1].float() for tensor in draw(2))
    key[:, :, :PLACES] = -1e5
    query = query.abs() + 1
    query.requires_grad_()
    maps = flow(query, key, GRID)
    assert maps[:, :, 0].abs().max() == 0
    assert maps[:, :, 1].abs().max() > 0
    (gradient,) = torch.autograd.grad(maps.square().sum(), query)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_by_heads(masked: bool) -> None:
    (query,), (key,) = draw(1), draw(1, tokens=7, seed=1)
    mask = None
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / WIDTH**0.5
    if masked:
        mask = torch.zeros(BATCH, 1, 1, 7, dtype=torch.float64)
        mask[..., 5:] = -1e9
        scores = scores[..., :5]
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    expected = sum(weights[:, head] for head in range(HEADS)) / HEADS
    maps = cross_attention(query, key, 3, mask)
    assert maps.shape == (BATCH, TOKENS, 3)
    torch.testing.assert_close(maps, expected[..., :3], rtol=0, atol=1e-14)


def test_a_mask_of_booleans_says_where_to_attend() -> None:
    query, key = draw(2)
    attended = torch.arange(TOKENS) < 4
    added = torch.zeros(TOKENS, dtype=torch.float64).masked_fill(~attended, -1e9)
    by_booleans = probabilities(query, key, attended)
    torch.testing.assert_close(by_booleans, probabilities(query, key, added), rtol=0, atol=1e-14)
    assert by_booleans[..., 4:].abs().max() == 0


def test_more_frames_than_the_head_is_wide() -> None:
    grid = Grid(frames=15, height=1, width=2)
    query, key = draw(2)
    shares = frame_mass(query, key, grid)
    weights = probabilities(query, key).unflatten(-1, (15, 2)).sum(-1).mean(1)
    torch.testing.assert_close(shares, weights, rtol=0, atol=1e-14)


def test_positions_of_half_precision_mirror_each_other() -> None:
    """Half of the attention on either side of the middle makes no flow, whatever the dtype."""
    zero = torch.zeros(1, 1, 26, 4, dtype=torch.bfloat16)
    maps = flow(zero, zero, Grid(frames=2, height=1, width=13))
    assert maps.dtype == torch.bfloat16
    assert maps.abs().max() < 2e-3
