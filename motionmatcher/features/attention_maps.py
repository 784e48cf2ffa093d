"""Attention maps as pure functions of queries and keys, averaged over heads.

Queries and keys are as attention multiplies them, after norms and position encoding, scaled by
`1 / sqrt(d)`. A video's tokens are ordered by frame, row, column: N = F * h * w.

Axes: B batch, H heads, N video tokens, T text tokens, d head width, F frames, P = h * w places.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

# (query (B, H, N, d), key (B, H, M, d), value (B, H, M, D)) -> (B, H, N, D)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Grid(NamedTuple):
    """How a video's tokens lie: frames, rows and columns."""

    frames: int
    height: int
    width: int


def probabilities(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much each query attends to each key: `softmax(Q K^T / sqrt(d))`.

    Args:
        query: (…, N, d).
        key: (…, M, d).
        mask: Added to the scores, or where to attend, as booleans; broadcast to (…, N, M).

    Returns:
        (…, N, M).
    """
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
    return scores.softmax(-1)


def cross_attention(query: Tensor, key: Tensor, num_own: int, mask: Tensor | None = None) -> Tensor:
    """How much each video token attends to each of the prompt's own tokens.

    The softmax is over all text tokens, as the model has it. Columns of padding are left out: they
    say nothing of the prompt, and there are many of them.

    Args:
        query: Of the video's tokens (B, H, N, d).
        key: Of the text's tokens (B, H, T, d), the prompt's own first.
        num_own: How many tokens are the prompt's own.
        mask: The model's own, as in `probabilities`.

    Returns:
        (B, N, num_own).
    """
    return probabilities(query, key, mask)[..., :num_own].mean(1)


def same_place(query: Tensor, key: Tensor, grid: Grid) -> Tensor:
    """How much each place of a frame attends to the same place of each frame.

    It is what is left of full attention with all other places taken out, so the softmax is over
    frames alone.

    Args:
        query: (B, H, N, d).
        key: (B, H, N, d).
        grid: How the tokens lie.

    Returns:
        (B, P, F, F), queries' frames before keys'.
    """
    by_place = "b heads (f place) d -> b heads place f d"
    query = rearrange(query, by_place, f=grid.frames)
    key = rearrange(key, by_place, f=grid.frames)
    return probabilities(query, key).mean(1)


def frame_mass(
    query: Tensor, key: Tensor, grid: Grid, attend: Attend = F.scaled_dot_product_attention
) -> Tensor:
    """How much of each token's attention goes to each frame.

    One attention whose values say which frame a token is in; no N x N probabilities are kept.

    Args:
        query: (B, H, N, d).
        key: (B, H, N, d).
        grid: How the tokens lie.
        attend: Computes attention.

    Returns:
        (B, N, F); the shares of a token sum to 1.
    """
    in_frame = _in_frame(grid, query)  # (N, F)
    return _attend_to(in_frame, query, key, attend).mean(1)


def flow(
    query: Tensor, key: Tensor, grid: Grid, attend: Attend = F.scaled_dot_product_attention
) -> Tensor:
    """Where in each frame a token's attention lies on average (after DiTFlow, arXiv:2412.07776).

    One attention whose values are the frame that a token is in and its position there.

    Args:
        query: (B, H, N, d).
        key: (B, H, N, d).
        grid: How the tokens lie.
        attend: Computes attention.

    Returns:
        (B, N, F, 2): column and row as shares of the frame's width and height, 0 at its centre. No
        attention at all to a frame counts as its centre.
    """
    in_frame = _in_frame(grid, query)
    column, row = _positions(grid, query).unbind(-1)
    moments = torch.cat([in_frame, in_frame * column[:, None], in_frame * row[:, None]], dim=1)
    mass, column, row = _attend_to(moments, query, key, attend).chunk(3, dim=-1)  # (B, H, N, F)
    mass = mass.clamp(min=torch.finfo(mass.dtype).tiny)
    return torch.stack([column / mass, row / mass], dim=-1).mean(1)


def _in_frame(grid: Grid, like: Tensor) -> Tensor:
    """Frames of the tokens, one-hot (N, F)."""
    return torch.eye(grid.frames, dtype=like.dtype, device=like.device).repeat_interleave(
        grid.height * grid.width, dim=0
    )


def _positions(grid: Grid, like: Tensor) -> Tensor:
    """Column and row of the tokens' centres as shares of the frame, 0 at its centre (N, 2)."""
    row, column = (_centres(size) for size in (grid.height, grid.width))
    places = torch.cartesian_prod(row, column).reshape(-1, 2).flip(-1)  # (P, 2)
    return places.repeat(grid.frames, 1).to(like)


def _centres(size: int) -> Tensor:
    # In fp64, so that the two halves of a frame mirror each other in every dtype.
    return (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5


def _attend_to(values: Tensor, query: Tensor, key: Tensor, attend: Attend) -> Tensor:
    """Attend to the same values (N, D) in every head; (B, H, N, D)."""
    width = values.shape[1]
    # Flash attention wants values as wide as queries.
    values = F.pad(values, (0, max(query.shape[-1] - width, 0)))
    return attend(query, key, values.expand(*key.shape[:2], -1, -1))[..., :width]
