"""What of a picture can be followed."""

import numpy as np
import pytest
import torch

from motionmatcher.tracking.flow_tracker import FlowTracker, fill
from motionmatcher.tracking.matching import best_matches
from motionmatcher.tracking.texture import has_texture, strongest_contrast, texture


def test_edges_between_colours_of_one_brightness_stay() -> None:
    frame = np.full((1, 20, 20, 3), 128, np.uint8)
    frame[:, 5:15, 5:15] = (60, 180, 40)  # of the same luma
    grey = strongest_contrast(frame)[0].astype(int)
    assert abs(grey[10, 10] - grey[0, 0]) > 50


def test_a_grey_clip_stays_as_it_is() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8).repeat(3, axis=3)
    grey = strongest_contrast(frame)
    assert np.abs(grey.astype(int) - frame[..., 0]).max() <= 1


def test_texture_is_the_smaller_mean_square_of_the_gradient() -> None:
    ramp = np.tile(np.arange(0, 80, 2, dtype=np.uint8), (40, 1))  # along x alone: no texture
    assert texture(ramp)[20, 20] == pytest.approx(0, abs=1e-3)
    diagonal = np.add.outer(np.arange(40), np.arange(40)).astype(np.uint8)
    assert texture(diagonal)[20, 20] == pytest.approx(0, abs=1e-3)
    noise = 100 + np.random.default_rng(0).normal(0, 4, (200, 200)).round()
    # Central differences of noise have half its variance.
    assert np.median(texture(noise.astype(np.uint8))) == pytest.approx(8, rel=0.25)


def test_plain_areas_and_their_noise_have_no_texture() -> None:
    picture = np.full((64, 64), 120, np.uint8)
    assert not has_texture(picture).any()
    picture[20:40, 20:40] = 200
    corner, edge = (20, 20), (30, 20)
    noisy = (
        (picture + np.random.default_rng(0).normal(0, 1, picture.shape)).round().astype(np.uint8)
    )
    for image in (picture, noisy):
        assert has_texture(image)[corner]
        assert has_texture(image)[:12, :12].mean() < 0.1
    assert not has_texture(picture)[edge]
    everywhere = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    assert has_texture(everywhere).all()


def test_a_patch_is_found_however_far_it_has_gone() -> None:
    here, there = np.zeros((2, 32, 32), np.uint8)
    here[2:8, 3:9] = 200
    there[22:28, 20:26] = 200
    field = best_matches(here, there)
    assert field[4, 4].tolist() == [17, 20]
    assert field[30, 30].tolist() == [0, 0]  # of plain places that are alike the nearest
    larger = best_matches(here.repeat(4, 0).repeat(4, 1), there.repeat(4, 0).repeat(4, 1))
    assert larger[16, 16].tolist() == [68, 80]


def test_places_without_texture_go_with_those_around() -> None:
    flow = np.zeros((16, 16, 2), np.float32)
    flow[8, 8] = (3, -1)
    flow[8, 9] = (50, 50)  # noise
    mask = np.zeros((16, 16), bool)
    mask[8, 8] = True
    filled = fill(flow, mask)
    assert filled[8, 9].tolist() == pytest.approx([3, -1])
    assert filled[0, 0].tolist() == [0, 0]


def test_a_far_jump_is_followed_and_the_plain_ground_is_not() -> None:
    clip = np.full((3, 64, 64, 3), 128, np.uint8)
    for frame, (x, y) in zip(clip, [(4, 4), (40, 8), (20, 40)], strict=True):
        frame[y : y + 16, x : x + 16] = (60, 180, 40)
        frame[y + 4 : y + 8, x + 4 : x + 12] = (200, 30, 30)
    tracks = FlowTracker(grid_size=32).track(clip)
    start = tracks.points[:, 0]
    assert ((start > -2) & (start < 26)).all()
    inner = ((start > 6) & (start < 18)).all(dim=1) & tracks.visible[:, -1]
    moved = (tracks.points - tracks.points[:, :1])[inner].median(dim=0).values
    assert (moved - torch.tensor([[0.0, 0.0], [36.0, 4.0], [16.0, 36.0]])).abs().max() < 1
    nothing = FlowTracker(grid_size=8).track(clip[:, 48:, :16])
    assert nothing.points.shape == (0, 3, 2)
