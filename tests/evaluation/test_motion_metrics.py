"""Distances between tracks against the published formula's numbers and by hand."""

import math

import pytest
import torch
from torch import Tensor

from evaluation.motion_metrics import (
    camera_discrepancy,
    centred_discrepancy,
    motion_discrepancy,
    motion_fidelity,
    nearest_neighbour_score,
    object_discrepancy,
    visible_discrepancy,
)
from motionmatcher.tracking.camera import CameraPath

SIZE = (100, 200)  # height, width


def straight(start: tuple[float, float], step: tuple[float, float], frames: int = 4) -> Tensor:
    """A track that takes the same step in every frame, (1, F, 2)."""
    times = torch.arange(frames, dtype=torch.float64)[:, None]
    return (torch.tensor(start) + times * torch.tensor(step))[None]


def test_equal_tracks_score_exactly_zero() -> None:
    tracks = torch.rand(50, 8, 2, generator=torch.Generator().manual_seed(0)) * 300
    assert motion_discrepancy(tracks, tracks, *SIZE) == 0.0


def test_nearest_neighbours_count_in_both_directions() -> None:
    distances = torch.tensor([[1.0, 4.0, 9.0]])  # one output track, three of the reference
    assert nearest_neighbour_score(distances, 1, 1) == pytest.approx(1 + (1 + 4 + 9) / 3)


def test_visible_discrepancy_ignores_what_is_hidden() -> None:
    reference = straight((10, 10), (5, 0))
    output = reference.clone()
    output[0, 3] += 40.0  # wrong where it is hidden
    seen = torch.ones(1, 4, dtype=torch.bool)
    hidden_at_end = torch.tensor([[True, True, True, False]])
    assert motion_discrepancy(reference, output, *SIZE) > 0
    assert visible_discrepancy(reference, seen, output, hidden_at_end, *SIZE) == pytest.approx(0)
    # Seen throughout it is the published number.
    assert visible_discrepancy(reference, seen, output, seen, *SIZE) == pytest.approx(
        motion_discrepancy(reference, output, *SIZE)
    )


def test_visible_discrepancy_compares_only_tracks_seen_together_half_the_time() -> None:
    reference = torch.cat([straight((10, 10), (5, 0)), straight((60, 60), (5, 0))])
    output = reference + 2.0  # squared difference 4 per coordinate
    seen = torch.ones(2, 4, dtype=torch.bool)
    mostly_hidden = torch.tensor([[True] * 4, [True, False, False, False]])
    score = visible_discrepancy(reference, seen, output, mostly_hidden, *SIZE)
    far = (48.0**2 + 48.0**2) / 2  # the second reference track's only partner is the first output's
    assert score == pytest.approx((4 + (4 + far) / 2) / (SIZE[0] * SIZE[1]))


def test_visible_discrepancy_is_undefined_without_any_visible_pair() -> None:
    tracks = straight((10, 10), (5, 0))
    unseen = torch.zeros(1, 4, dtype=torch.bool)
    assert math.isnan(visible_discrepancy(tracks, unseen, tracks, unseen, *SIZE))


def test_centred_discrepancy_sees_movement_and_not_position() -> None:
    reference = straight((10, 10), (5, 0))
    assert centred_discrepancy(reference, reference + 33.0, *SIZE) == pytest.approx(0)
    # Steps of 5 against steps of 4: centred positions differ by -1.5, -0.5, 0.5, 1.5 in x only.
    slower = straight((80, 40), (4, 0))
    by_hand = 2 * (2 * 1.5**2 + 2 * 0.5**2) / 8 / (SIZE[0] * SIZE[1])
    assert centred_discrepancy(reference, slower, *SIZE) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("step", "expected"),
    [((7.0, 0.0), 1.0), ((-1.0, 0.0), -1.0), ((0.0, 2.0), 0.0), ((1.0, 1.0), 0.5**0.5)],
)
def test_motion_fidelity_is_the_cosine_of_the_steps(
    step: tuple[float, float], expected: float
) -> None:
    reference = straight((10, 10), (5, 0))
    output = straight((50, 50), step)
    assert motion_fidelity(reference, output, *SIZE) == pytest.approx(expected, abs=1e-9)


def test_motion_fidelity_takes_the_best_reference_track_for_each_output_track() -> None:
    right, down, still = (straight((10, 10), step) for step in ((5.0, 0.0), (0.0, 5.0), (0.0, 0.0)))
    reference = torch.cat([right, down])
    assert motion_fidelity(reference, torch.cat([down, right, right]), *SIZE) == pytest.approx(1)
    # A static track: with a static partner it agrees wholly, with moving ones not at all.
    assert motion_fidelity(reference, still, *SIZE) == 0.0
    assert motion_fidelity(torch.cat([right, still]), still, *SIZE) == pytest.approx(1)


def test_camera_discrepancy_by_hand() -> None:
    still, panned = torch.eye(3).double(), torch.eye(3).double()
    panned[0, 2] = 4.0
    path = CameraPath(torch.stack([still, panned]), 10, 10)
    other = CameraPath(torch.stack([still, still]), 10, 10)
    # Squared differences 0, 0 (first frame), 16, 0 (second): mean 4, twice, over 100 pixels.
    assert camera_discrepancy(other, path) == pytest.approx(2 * 4 / 100)
    assert camera_discrepancy(path, path) == 0.0


def test_object_discrepancy_by_hand() -> None:
    still = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]]).double()
    mover = torch.tensor([[[1.0, 1.0], [5.0, 1.0]]]).double()
    both = torch.cat([still, mover])
    none, second = torch.tensor([False]), torch.tensor([False, True])
    # The mover's nearest neighbour in the still video: squared differences 0, 0, 16, 0.
    assert object_discrepancy(both, second, still, none, 10, 10) == pytest.approx(4 / 100)
    assert object_discrepancy(still, none, both, second, 10, 10) == pytest.approx(4 / 100)
    assert object_discrepancy(both, second, both, second, 10, 10) == 0.0
    assert object_discrepancy(still, none, still, none, 10, 10) == 0.0
