"""Solvers walk the model's trajectory: exact for data whose trajectory is known."""

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.diffusion.solvers import make_solver, solve, solver_names
from testbed.random_base import SCHEDULER_CONFIG

SPREAD = 2.0  # standard deviation of the data, N(0, SPREAD^2)


def schedule(prediction_type: str) -> NoiseSchedule:
    return NoiseSchedule.from_config({**SCHEDULER_CONFIG, "prediction_type": prediction_type})


SOLVERS = solver_names(schedule("epsilon"))


def error(name: str, num_steps: int, prediction_type: str = "epsilon") -> float:
    """How far sampling with a perfect model ends from the true trajectory's end."""
    ours = schedule(prediction_type)
    abar = ours.alphas_cumprod.double()

    def variance(timestep: float) -> Tensor:
        return abar[int(timestep)] * SPREAD**2 + 1 - abar[int(timestep)]

    def model(latents: Tensor, timestep: float) -> Tensor:
        alpha_bar = abar[int(timestep)]
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        epsilon = noise * latents / variance(timestep)
        clean = signal * SPREAD**2 * latents / variance(timestep)
        return epsilon if prediction_type == "epsilon" else signal * epsilon - noise * clean

    solver = make_solver(name, ours, num_steps)
    start = torch.randn(
        1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    end = solve(start, model, solver.timesteps, solver)
    # The trajectory scales with the standard deviation (probability flow, arXiv:2011.13456).
    exact = start * SPREAD / variance(solver.timesteps[0]).sqrt()
    return float((end - exact).norm() / exact.norm())


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SOLVERS)
def test_many_steps_reach_the_end(name: str, prediction_type: str) -> None:
    assert error(name, 200, prediction_type) < 0.02


@pytest.mark.parametrize("name", ["dpm++", "unipc"])
def test_the_fast_ones_are_nearer_in_few_steps(name: str) -> None:
    assert error(name, 12) < 0.2 * error("ddim", 12)


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("dpm++", DPMSolverMultistepScheduler), ("unipc", UniPCMultistepScheduler)],
)
def test_the_fast_ones_are_diffusers(name: str, scheduler: Any) -> None:
    theirs = scheduler.from_config(SCHEDULER_CONFIG)
    theirs.set_timesteps(8)
    solver = make_solver(name, schedule("epsilon"), 8)
    assert solver.timesteps == theirs.timesteps.tolist()
    start = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))

    def model(latents: Tensor, timestep: float) -> Tensor:
        return 0.3 * latents + timestep / 1000

    expected = start
    for timestep in theirs.timesteps.tolist():
        expected = theirs.step(model(expected, timestep), timestep, expected).prev_sample
    assert torch.equal(solve(start, model, solver.timesteps, solver), expected)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_model_is_evaluated_once_a_step_from_noise_to_clean(name: str) -> None:
    solver = make_solver(name, schedule("epsilon"), 15)
    assert len(solver.timesteps) == 15
    assert solver.timesteps == sorted(set(solver.timesteps), reverse=True)
    visited: list[float] = []

    def model(latents: Tensor, timestep: float) -> Tensor:
        visited.append(timestep)
        return latents

    latents = solve(torch.ones(1, 4, 1, 2, 2), model, iter(solver.timesteps[:5]), solver)
    latents = solve(latents, model, iter(solver.timesteps[5:]), solver)
    assert visited == solver.timesteps
    assert latents.dtype == torch.float32
