"""Recorded maps are averaged as they should be."""

import torch

from motionmatcher.features.maps import FeatureLayers, gather_features


def test_gathered_by_hand() -> None:
    layers = FeatureLayers(("c1", "c2"), ("t1", "t2", "t3"), (2, 3), (1, 7), last_block=0)
    batch, frames, tokens = 2, 4, 5
    cross = torch.arange(batch * frames * 6 * tokens).float().reshape(batch * frames, 6, tokens)
    temporal = torch.arange(batch * 7 * frames**2).float().reshape(batch * 7, frames, frames)
    maps = {
        "c1": cross,
        "c2": 3 * cross,
        "t1": temporal,
        "t2": 2 * temporal,
        "t3": 6 * temporal,
        "another": torch.full((1, 1, 1), torch.nan),
    }
    features = gather_features(maps, layers, batch)
    assert features.cross_attention.shape == (batch, frames, 2, 3, tokens)
    assert features.temporal_attention.shape == (batch, 7, frames, frames)
    for b, f, y, x, token in [(0, 0, 0, 0, 0), (1, 2, 1, 0, 4), (1, 3, 1, 2, 2)]:
        expected = 2 * cross[b * frames + f, y * 3 + x, token]
        assert features.cross_attention[b, f, y, x, token] == expected
    for b, place, i, j in [(0, 3, 0, 1), (1, 5, 3, 2)]:
        assert features.temporal_attention[b, place, i, j] == 3 * temporal[b * 7 + place, i, j]
