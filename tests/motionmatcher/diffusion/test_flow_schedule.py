"""Flow matching: places, straight lines, diffusers' solvers, WanPipeline's latents, inversion."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanPipeline,
)
from small_models import small_wan
from torch import Tensor

from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.diffusion.flow_schedule import FlowSchedule
from motionmatcher.diffusion.inversion import invert_ddim, to_unit_variance
from motionmatcher.diffusion.sampling import guided_predictor
from motionmatcher.diffusion.schedules import (
    NoiseSchedule,
    add_noise,
    ddim_step,
    prediction_scale,
    true_prediction,
)
from motionmatcher.diffusion.solvers import make_solver, solve, solver_names
from motionmatcher.errors import UserError
from testbed.random_base import SCHEDULER_CONFIG

SHAPE = (2, 4, 3, 5, 7)
EULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
# Wan 2.1's for 480p.
UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "flow_shift": 3.0,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
}
CONFIGS = {"euler": EULER, "unipc": UNIPC}


def tensors(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator, dtype=dtype) for _ in range(count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_schedule_is_read_from_either_scheduler(name: str) -> None:
    schedule = FlowSchedule.from_config(CONFIGS[name])
    assert (schedule.num_train_timesteps, schedule.shift) == (1000, 3.0)
    assert schedule.own_solver == name
    assert schedule.prediction_type == "flow_prediction"
    assert FlowSchedule.from_config(CONFIGS[name], shift=5.0).shift == 5.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**EULER, "use_dynamic_shifting": True}, "use_dynamic_shifting must be false, for it is not"),
        ({**UNIPC, "shift_terminal": 0.1}, "shift_terminal must be false, for it is not supported"),
        ({**EULER, "shift": 0}, "shift must be at least 0.001, not 0"),
        ({**UNIPC, "flow_shift": "3"}, "flow_shift must be a number, not '3'"),
        ({**UNIPC, "prediction_type": "epsilon"}, "prediction_type must be of flow_prediction, not"),
        ({**UNIPC, "solver_order": 4}, "solver_order must be at most 3, not 4"),
        ({**EULER, "num_train_timesteps": 1}, "num_train_timesteps must be at least 2, not 1"),
    ],
)  # fmt: skip
def test_configs_that_make_no_flow_schedule(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"^{file}: {message}"):
        FlowSchedule.check_config(BaseConfig(file, ""))


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_as_they_come_pass(name: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(CONFIGS[name]))
    FlowSchedule.check_config(BaseConfig(file, ""))


def test_a_change_for_the_other_kind_of_schedule_is_refused() -> None:
    with pytest.raises(UserError, match=r"^rescale_schedule is for noise schedules"):
        FlowSchedule.from_config(EULER, rescale=True)
    with pytest.raises(
        UserError, match=r"^flow_shift is for bases that were trained by flow matching"
    ):
        NoiseSchedule.from_config(SCHEDULER_CONFIG, shift=3.0)


@pytest.mark.parametrize(
    ("shift", "place", "timestep"),
    [
        (3.0, 500, 750),
        (3.0, 750, 900),
        (3.0, 1000, 1000),
        (5.0, 500, 1000 * 2.5 / 3),
        (1.0, 321, 321),
        # Where Wan 2.2's two experts change, at noise level 0.875.
        (3.0, 700, 875),
        (5.0, 583.33333, 875),
        (12.0, 368.42105, 875),
    ],
)
def test_places_by_hand(shift: float, place: float, timestep: float) -> None:
    schedule = FlowSchedule.from_config(EULER, shift=shift)
    assert schedule.timestep_at(place) == pytest.approx(timestep, rel=1e-7)
    several = schedule.timestep_at(torch.tensor([0, round(place)]))
    assert several[0] == 0
    assert several[1].item() == pytest.approx(schedule.timestep_at(round(place)), rel=1e-6)


def test_a_noise_schedule_s_places_are_its_timesteps() -> None:
    schedule = NoiseSchedule.from_config(SCHEDULER_CONFIG)
    places = torch.tensor([500, 999])
    assert schedule.timestep_at(places) is places
    assert schedule.timestep_at(500) == 500


@pytest.mark.parametrize("shift", [3.0, 5.0])
def test_the_place_500_is_half_of_euler_s_steps(shift: float) -> None:
    schedule = FlowSchedule.from_config(EULER, shift=shift)
    solver = make_solver("euler", schedule, 50)
    assert sum(timestep >= schedule.timestep_at(500) for timestep in solver.timesteps) == 25
    assert sum(timestep >= 500 for timestep in solver.timesteps) > 35


@pytest.mark.parametrize("name", CONFIGS)
def test_sampling_steps_join_and_end_clean(name: str) -> None:
    steps = FlowSchedule.from_config(CONFIGS[name]).sampling_steps(6)
    theirs: Any = FlowMatchEulerDiscreteScheduler if name == "euler" else UniPCMultistepScheduler
    scheduler = theirs.from_config(CONFIGS[name])
    scheduler.set_timesteps(6)
    assert [timestep for timestep, _ in steps] == pytest.approx(
        (1000 * scheduler.sigmas[:-1]).tolist()
    )
    assert [later for _, later in steps[:-1]] == [timestep for timestep, _ in steps[1:]]
    assert steps[0][0] == pytest.approx(1000, abs=2e-3)
    assert steps[-1][1] == 0


def test_noising_by_hand() -> None:
    schedule = FlowSchedule.from_config(EULER)
    latents = torch.tensor([2.0, 2.0]).reshape(2, 1, 1, 1, 1)
    noise = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1)
    timesteps = torch.tensor([250.0, 900.0])
    noisy = add_noise(latents, noise, timesteps, schedule)
    assert noisy.flatten().tolist() == pytest.approx([0.75 * 2 + 0.25, 0.1 * 2 - 0.9])
    velocity = true_prediction(latents, noise, timesteps, schedule)
    assert velocity.flatten().tolist() == [-1, -3]


@pytest.mark.parametrize("length", [1, 20])
def test_a_step_along_the_truth_stays_on_the_line(length: int) -> None:
    latents, noise = tensors(2)
    schedule = FlowSchedule.from_config(UNIPC)
    timesteps = schedule.timestep_at(torch.tensor([999, 500]))
    noisy = add_noise(latents, noise, timesteps, schedule)
    truth = true_prediction(latents, noise, timesteps, schedule)
    earlier = ddim_step(noisy, truth, timesteps, timesteps - length, schedule)
    expected = add_noise(latents, noise, timesteps - length, schedule)
    torch.testing.assert_close(earlier, expected, rtol=0, atol=2e-15)
    assert not torch.allclose(earlier, noisy, rtol=0, atol=2e-4)


def test_a_step_moves_as_far_as_the_noise_level() -> None:
    sample, prediction, change = tensors(3)
    schedule = FlowSchedule.from_config(UNIPC)
    times = torch.tensor([999.0, 501.0]), torch.tensor([998.0, 481.0])
    scale = prediction_scale(*times, schedule, like=sample)
    assert scale.shape == (2, 1, 1, 1, 1)
    assert scale.flatten().tolist() == pytest.approx([-0.001, -0.02], rel=1e-12)
    start = ddim_step(sample, prediction, *times, schedule)
    end = ddim_step(sample, prediction + change, *times, schedule)
    torch.testing.assert_close(end - start, scale * change, rtol=0, atol=2e-15)


def test_a_step_is_that_of_clean_latents_and_noise() -> None:
    """The velocity at z tells both, `z - s v` and `z + (1 - s) v`; the step mixes them anew."""
    sample, velocity = tensors(2)
    schedule = FlowSchedule.from_config(EULER)
    clean, noise = sample - 0.7 * velocity, sample + 0.3 * velocity
    stepped = ddim_step(sample, velocity, 700.0, 400.0, schedule)
    torch.testing.assert_close(stepped, 0.6 * clean + 0.4 * noise, rtol=0, atol=1e-6)
    assert stepped.dtype == torch.float64
    half = ddim_step(sample.float(), velocity.bfloat16(), 700.0, 400.0, schedule)
    assert half.dtype == torch.float32


def error(name: str, num_steps: int, config: dict[str, Any]) -> float:
    """How far sampling N(0, 2^2) with a perfect model ends from the true trajectory's end."""
    spread = 2.0
    schedule = FlowSchedule.from_config(config)

    def variance(level: float) -> float:
        return (1 - level) ** 2 * spread**2 + level**2

    def model(latents: Tensor, timestep: float) -> Tensor:
        level = timestep / 1000
        noise, clean = level, (1 - level) * spread**2
        return (noise - clean) / variance(level) * latents

    solver = make_solver(name, schedule, num_steps)
    (start,) = tensors(1, torch.float32)
    end = solve(start, model, solver.timesteps, solver)
    exact = start * spread / variance(solver.timesteps[0] / 1000) ** 0.5
    return float((end - exact).norm() / exact.norm())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", ["euler", "dpm++", "unipc"])
def test_every_solver_reaches_the_end(name: str, config: str) -> None:
    assert name in solver_names(FlowSchedule.from_config(CONFIGS[config]))
    assert error(name, 200, CONFIGS[config]) < 0.02


@pytest.mark.parametrize("name", ["dpm++", "unipc"])
def test_the_fast_ones_are_nearer_in_few_steps(name: str) -> None:
    assert error(name, 12, UNIPC) < 0.4 * error("euler", 12, UNIPC)


def test_solvers_of_the_other_kind_of_schedule_are_refused() -> None:
    with pytest.raises(UserError, match=r"scheduler ddim .* choose of euler, dpm\+\+, unipc"):
        make_solver("ddim", FlowSchedule.from_config(UNIPC), 5)
    with pytest.raises(UserError, match=r"scheduler euler .* choose of ddim, dpm\+\+, unipc"):
        make_solver("euler", NoiseSchedule.from_config(SCHEDULER_CONFIG), 5)


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shift", [3.0, 5.0])
def test_a_guided_run_is_wan_pipeline_s(name: str, shift: float) -> None:
    network = small_wan(0.1)
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(2, 16, 3, 4, 6, generator=generator)
    prompt, negative = torch.randn(2, 2, 7, 32, generator=generator)
    classes: Any = {"euler": FlowMatchEulerDiscreteScheduler, "unipc": UniPCMultistepScheduler}
    key = "shift" if name == "euler" else "flow_shift"
    scheduler = classes[name].from_config({**CONFIGS[name], key: shift})
    pipeline = WanPipeline(None, None, None, scheduler, network)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=prompt,
        negative_prompt_embeds=negative,
        latents=start,
        num_frames=9,
        height=32,
        width=48,
        num_inference_steps=8,
        guidance_scale=5.0,
        output_type="latent",
    ).frames

    base: Any = SimpleNamespace(denoiser=network)
    predictor = guided_predictor(base, prompt, negative, 5.0)
    solver = make_solver(name, FlowSchedule.from_config(CONFIGS[name], shift=shift), 8)
    ours = solve(start, predictor, solver.timesteps, solver)
    assert not torch.allclose(ours, start, atol=0.1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_each_repetition_brings_inversion_ten_times_nearer() -> None:
    """A smooth field: what a run from the inverted noise ends in is the latents, more and more."""
    schedule = FlowSchedule.from_config(EULER)
    steps = schedule.sampling_steps(50)
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64) * 0.5
    clean, _ = tensors(2)

    def field(latents: Tensor, timestep: float) -> Tensor:
        return torch.einsum("ij,bjfhw->bifhw", mixing, latents).tanh() - latents * timestep / 1000

    errors = []
    for repetitions in range(4):
        noise = invert_ddim(clean, field, steps, schedule, repetitions=repetitions)
        latents = noise
        for timestep, later in steps:
            latents = ddim_step(latents, field(latents, timestep), timestep, later, schedule)
        errors.append(float((latents - clean).norm() / clean.norm()))
    assert errors[0] > 1e-3
    for error_before, error_after in itertools.pairwise(errors):
        assert error_after < 0.15 * error_before
    assert errors[3] < 2e-3 * errors[0]


def test_a_repetition_costs_one_evaluation_a_step() -> None:
    schedule = FlowSchedule.from_config(EULER)
    asked: list[float] = []

    def field(latents: Tensor, timestep: float) -> Tensor:
        asked.append(timestep)
        return latents

    steps = schedule.sampling_steps(3)
    invert_ddim(tensors(1)[0], field, steps, schedule, repetitions=2)
    assert asked == [timestep for timestep, _ in reversed(steps) for _ in range(3)]


def test_noise_is_scaled_channel_by_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, 4, 8, 8, generator=generator)
    spread = torch.tensor([2.0, 1.0, 0.5]).reshape(1, 3, 1, 1, 1)
    scaled, deviations = to_unit_variance(noise * spread + 1)
    assert deviations.tolist() == pytest.approx([2, 1, 0.5], rel=0.1)
    assert scaled.std(dim=(0, 2, 3, 4)).tolist() == pytest.approx([1, 1, 1], rel=1e-6)
    torch.testing.assert_close(scaled[:, 0] * deviations[0], noise[:, 0] * 2 + 1)


def test_noise_without_any_variance_stays_finite() -> None:
    scaled, deviations = to_unit_variance(torch.zeros(1, 2, 2, 2, 2))
    assert deviations.tolist() == [0, 0]
    assert scaled.isfinite().all()
