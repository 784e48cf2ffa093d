"""Frame-wise CLIP metrics against the published formula's numbers and by hand."""

import pytest
import torch

from evaluation.clip_metrics import appearance_leakage, frame_consistency


def test_frame_consistency_compares_adjacent_frames_only() -> None:
    frames = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert frame_consistency(frames) == 0.0  # the first and the last are alike, but not adjacent
    assert frame_consistency(frames[[0, 2, 1]]) == 0.5


def test_leakage_is_the_mean_over_all_pairs() -> None:
    frames = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    reference = torch.tensor([[0.0, 5.0], [3.0, 0.0]])
    root = 0.5**0.5
    by_hand = (0 + 1 + 1 + 0 + root + root) / 6
    assert appearance_leakage(frames, reference) == pytest.approx(by_hand)
