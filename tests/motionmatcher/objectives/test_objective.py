"""What every objective draws, and the total of a loss."""

from dataclasses import replace

import torch
from objective_examples import SETTINGS, base_model

from motionmatcher.config.settings import TrainSettings
from motionmatcher.objectives.objective import Objective
from motionmatcher.objectives.pixel import Denoising
from motionmatcher.random_streams import generator


def prepared(settings: TrainSettings) -> Objective:
    """An objective that draws as all do."""
    objective = Denoising()
    objective.prepare(base_model(None, "epsilon"), settings, (5, 6))
    return objective


def test_each_kind_of_draw_has_a_stream_of_its_own() -> None:
    settings = replace(SETTINGS, seed=3, train_batch_size=2, use_offset_noise=True)
    settings = replace(settings, offset_noise_strength=0.1, min_timestep=400)
    drawn = prepared(settings).draw(torch.zeros(1, 4, 3, 5, 6), torch.zeros(1, 7, 32), 7, 1, 2)
    noise = torch.randn(2, 4, 3, 5, 6, generator=generator(3, "noise", 7, 1, 2))
    offsets = torch.randn(2, 4, 3, 1, 1, generator=generator(3, "offset noise", 7, 1, 2))
    timesteps = torch.randint(400, 1000, (2,), generator=generator(3, "timesteps", 7, 1, 2))
    assert torch.equal(drawn.noise, noise + 0.1 * offsets)
    assert torch.equal(drawn.timesteps, timesteps)
    assert drawn.latents.shape == (2, 4, 3, 5, 6)
    assert drawn.text_states.shape == (2, 7, 32)


def test_draws_cover_their_range_and_differ_among_steps() -> None:
    settings = replace(SETTINGS, train_batch_size=2, min_timestep=998)
    latents, states, objective = (
        torch.zeros(1, 4, 3, 2, 2),
        torch.zeros(1, 7, 32),
        prepared(settings),
    )
    batches = [objective.draw(latents, states, step, 0, 0) for step in range(40)]
    timesteps = torch.stack([drawn.timesteps for drawn in batches])
    assert timesteps.unique().tolist() == [998, 999]
    assert (timesteps[:, 0] != timesteps[:, 1]).any(), "each video has its own"
    assert len({drawn.noise.sum().item() for drawn in batches}) == 40
