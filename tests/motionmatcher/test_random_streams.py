"""Random streams depend on seed, use and place, and on nothing else."""

import hashlib
from typing import Any

import torch

from motionmatcher.random_streams import generator, stream_seed, video_noise


def test_stream_seed_is_a_hash_of_seed_use_and_place() -> None:
    digest = hashlib.sha256(b"7:noise:3:0").digest()
    assert stream_seed(7, "noise", 3, 0) == int.from_bytes(digest[:8], "big") // 2


def test_every_part_of_a_name_matters() -> None:
    names: list[Any] = [
        (0, "noise", 0, 0),
        (1, "noise", 0, 0),
        (0, "dropout", 0, 0),
        (0, "noise", 1, 0),
        (0, "noise", 0, 1),
        (0, "noise", 0),
        (0, "noise"),
        (0, "noise", 11),
        (0, "noise", 1, 1),
    ]
    seeds = [stream_seed(*name) for name in names]
    assert len(set(seeds)) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_draws_the_same_whatever_others_draw() -> None:
    expected = torch.randn(5, generator=generator(0, "noise", 3))
    first, second = generator(0, "noise", 3), generator(0, "timesteps", 3)
    torch.randint(0, 9, (100,), generator=second)
    torch.manual_seed(99)
    assert torch.equal(torch.randn(5, generator=first), expected)


def test_drawing_from_a_stream_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    torch.randn(5, generator=generator(0, "noise"))
    video_noise([1, 2], (4, 2, 3, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_video_noise_does_not_depend_on_the_batch() -> None:
    shape = (4, 3, 2, 5)
    batch = video_noise([5, 6, 5], shape)
    assert batch.shape == (3, *shape)
    assert batch.dtype == torch.float32
    assert batch.device.type == "cpu"
    assert torch.equal(batch[1:2], video_noise([6], shape))
    assert torch.equal(batch[0], batch[2])
    assert not torch.equal(batch[0], batch[1])
    assert torch.equal(batch[0], torch.randn(shape, generator=torch.Generator().manual_seed(5)))
