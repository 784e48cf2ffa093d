"""Separate random streams: what one feature draws never shifts what another one draws.

A stream is named by its use and its place (step, process, …), and its seed is a hash of both, so
nothing has to be saved to resume: step 300 draws the same numbers in a resumed run as in an
unbroken one.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motionmatcher.config.bounds import MAX_SEED
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, stream: str, *place: int) -> int:
    """Derive the seed of one random stream at one place.

    Args:
        seed: The run's seed.
        stream: What the numbers are for, e.g. "noise" or "dropout".
        place: Where they are drawn, e.g. step and process.

    Returns:
        An integer of 63 bits.
    """
    name = ":".join([str(seed), stream, *map(str, place)])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


def generator(seed: int, stream: str, *place: int) -> "torch.Generator":
    """Make a CPU generator for one random stream at one place; the arguments are `stream_seed`'s."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, stream, *place))


def check_seeds(first: int, count: int) -> None:
    """Refuse seeds that count up beyond the largest that a generator takes.

    Args:
        first: The first video's.
        count: Number of seeds, each one more than the last.

    Raises:
        UserError: Names the largest first seed there can be.
    """
    most = MAX_SEED - (count - 1)
    if first > most:
        raise UserError(
            f"the seeds of {count} videos count up from {first} beyond the largest, {MAX_SEED}: "
            f"start from {most} or less."
        )


def video_noise(seeds: Sequence[int], shape: Sequence[int]) -> "torch.Tensor":
    """Draw the fresh start noise of videos, each from its own seed.

    Drawn in fp32 on the CPU, so that neither batch size nor device nor precision changes it.

    Args:
        seeds: One seed a video.
        shape: Shape of one video's latents (C, F, h, w).

    Returns:
        Standard normal noise (len(seeds), C, F, h, w), fp32, on the CPU.
    """
    import torch

    return torch.stack(
        [torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
