"""The maps are those of training's target, and what is made of them is right by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import write_config

from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.config.loading import load_settings
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.maps.reading import (
    ReferenceMaps,
    by_place,
    displacements,
    own_frame,
    read_reference_maps,
)
from motionmatcher.maps.words import Word
from motionmatcher.random_streams import generator


def test_maps_are_read_where_a_short_step_with_the_true_noise_leads(
    base_folder: Path, run_values: dict[str, Any], tmp_path: Path
) -> None:
    settings = load_settings(write_config(tmp_path / "config.yaml", run_values))
    settings = replace(
        settings, motion_extractor=replace(settings.motion_extractor, num_denoise_steps=20)
    )
    base = load_base_model(find_base(str(base_folder)), torch.device("cpu"))
    latents = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    first, second = read_reference_maps(base, settings, latents, [500, 900])
    noise = torch.randn(latents.shape, generator=generator(settings.seed, "maps", 900))
    abar = base.schedule.alphas_cumprod  # type: ignore[attr-defined]
    # DDIM from 900 to 880 with the true noise only changes the scales.
    point = abar[880].sqrt() * latents + (1 - abar[880]).sqrt() * noise
    extractor = MotionExtractor(base.denoiser, (8, 8), settings.motion_extractor)
    prompt = settings.train_data.single_video_prompt
    with torch.no_grad():
        expected = extractor(point, torch.tensor([880]), base.text.encode([prompt]))
    num_own = len(prompt) + 2  # letters, start and end; spaces are none
    num_own -= prompt.count(" ")
    torch.testing.assert_close(
        second.cross_attention, expected.cross_attention[0, ..., :num_own], rtol=1e-4, atol=1e-6
    )
    assert second.frame_attention is not None
    place_by_place = second.frame_attention.permute(1, 2, 0, 3).flatten(0, 1)  # (P, F, F)
    torch.testing.assert_close(place_by_place, expected.temporal_attention[0], rtol=1e-4, atol=1e-6)
    assert (first.timestep, second.timestep) == (500, 900)
    assert second.signal == pytest.approx(abar[900].sqrt().item())
    assert second.noise == pytest.approx((1 - abar[900]).sqrt().item())


def test_a_word_has_what_its_tokens_have_together() -> None:
    cross = torch.tensor([0.1, 0.2, 0.4]).expand(1, 1, 1, 3)
    maps = ReferenceMaps(500, 0.5, 0.5, cross, None, None)
    torch.testing.assert_close(maps.of_word(Word("red", (0, 2))), torch.full((1, 1, 1), 0.5))


def test_every_kind_of_temporal_map_is_ordered_by_frame_and_place() -> None:
    frames, height, width = 3, 2, 2  # 4 places
    shares = torch.arange(36.0).reshape(3, 2, 2, 3)  # (F, h, w, F)
    same_place = shares.permute(1, 2, 0, 3).reshape(4, 3, 3)  # (P, F, F)
    frame_mass = shares.reshape(12, 1, 3)  # (F*P, 1, F)
    for maps in (same_place, frame_mass):
        ordered, flow = by_place(maps, frames, (height, width))
        assert ordered is not None
        assert flow is None
        assert torch.equal(ordered, shares)
    positions = torch.arange(72.0).reshape(12, 3, 2)
    ordered, flow = by_place(positions, frames, (height, width))
    assert ordered is None
    assert flow is not None
    assert torch.equal(flow, positions.reshape(3, 2, 2, 3, 2))


def test_what_is_there_for_a_moment_keeps_to_its_own_frame() -> None:
    shares = torch.full((2, 1, 3, 2), 0.5)  # two frames, three places
    shares[0, 0, :, 0], shares[0, 0, :, 1] = (
        0.6,
        0.4,
    )  # the first frame keeps to itself everywhere …
    shares[1, 0, 2] = torch.tensor([0.2, 0.8])  # … and one place of the second does
    shares[1, 0, 0] = torch.tensor([0.7, 0.3])
    torch.testing.assert_close(
        own_frame(shares), torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.3]]])
    )


def test_attention_moves_from_its_own_frame_to_the_next() -> None:
    flow = torch.zeros(3, 1, 1, 3, 2)
    flow[0, 0, 0, 0], flow[0, 0, 0, 1] = torch.tensor([0.1, 0.0]), torch.tensor([0.3, -0.1])
    flow[1, 0, 0, 1], flow[1, 0, 0, 2] = torch.tensor([0.2, 0.2]), torch.tensor([0.2, 0.5])
    expected = torch.tensor([[0.2, -0.1], [0.0, 0.3]]).reshape(2, 1, 1, 2)
    torch.testing.assert_close(displacements(flow), expected)
