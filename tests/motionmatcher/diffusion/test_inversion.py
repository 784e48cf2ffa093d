"""Inversion of sampling, and the noise prior, against hand-computed values."""

from typing import Any

import pytest
import torch
from torch import Tensor

from motionmatcher.diffusion.inversion import invert_ddim, mix_noise
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.diffusion.solvers import make_solver, solve
from testbed.random_base import SCHEDULER_CONFIG

SCHEDULE = NoiseSchedule.from_config(SCHEDULER_CONFIG)


def draw(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 3, 5, 7, generator=generator, dtype=torch.float64)


def test_inversion_undoes_sampling_of_a_constant_model() -> None:
    start, direction = draw(0), draw(1)
    steps = SCHEDULE.sampling_steps(20)
    visited: list[float] = []

    def model(latents: Tensor, timestep: float) -> Tensor:
        visited.append(timestep)
        return direction

    solver = make_solver("ddim", SCHEDULE, 20)
    clean = solve(start, model, solver.timesteps, solver)
    assert visited == [timestep for timestep, _ in steps]
    visited.clear()
    inverted = invert_ddim(clean, model, steps, SCHEDULE)
    assert visited == [timestep for timestep, _ in reversed(steps)]
    torch.testing.assert_close(inverted, start, rtol=0, atol=1e-4)
    assert not torch.allclose(clean, start, rtol=0, atol=1)


def test_inversion_reports_each_step() -> None:
    seen: list[Any] = []

    def progress(steps: Any) -> Any:
        seen.extend(steps)
        return steps

    steps = SCHEDULE.sampling_steps(4)
    invert_ddim(draw(0), lambda latents, timestep: latents, steps, SCHEDULE, progress)
    assert seen == steps[::-1]


@pytest.mark.parametrize("prior", [0.0, 0.3, 1.0])
def test_mixed_noise_by_hand(prior: float) -> None:
    inverted, fresh = (
        torch.full((1, 1, 1, 1, 1), 2.0),
        torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1, 1),
    )
    mixed = mix_noise(inverted.double(), fresh, prior)
    assert mixed.dtype == torch.float32
    expected = [prior**0.5 * 2 + (1 - prior) ** 0.5 * value for value in (3.0, -1.0)]
    assert mixed.flatten().tolist() == pytest.approx(expected)
    if prior == 0.3:
        assert mixed[0].item() == pytest.approx(3.605435, abs=1e-5)
