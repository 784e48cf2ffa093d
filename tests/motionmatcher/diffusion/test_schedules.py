"""Noising, DDIM steps and inversion agree with diffusers' DDIM and with hand-made formulas."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from motionmatcher.diffusion.schedules import (
    NoiseSchedule,
    add_noise,
    ddim_step,
    prediction_scale,
    true_prediction,
)
from motionmatcher.diffusion.solvers import make_solver, solve
from testbed.random_base import SCHEDULER_CONFIG

SHAPE = (2, 4, 3, 5, 7)


def schedule(
    prediction_type: str = "epsilon", rescale: bool = False, **changes: Any
) -> NoiseSchedule:
    config = {**SCHEDULER_CONFIG, "prediction_type": prediction_type, **changes}
    return NoiseSchedule.from_config(config, rescale)


def tensors(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator, dtype=dtype) for _ in range(count)]


def by_hand(abar: list[float]) -> NoiseSchedule:
    """A schedule of a few timesteps, final abar 0.96."""
    return NoiseSchedule(torch.tensor(abar), 0.96, "epsilon", lambda num_steps: [])


def test_the_schedule_is_the_scheduler_s() -> None:
    ours, theirs = schedule(), DDIMScheduler(**drop_class(SCHEDULER_CONFIG))
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(
        ours.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=0
    )
    assert ours.num_train_timesteps == 1000
    assert ours.prediction_type == "epsilon"


def drop_class(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def test_a_config_of_another_scheduler_is_read_as_ddim_s() -> None:
    config = {**SCHEDULER_CONFIG, "_class_name": "PNDMScheduler", "skip_prk_steps": True}
    ours = NoiseSchedule.from_config(config)
    assert torch.equal(ours.alphas_cumprod, schedule().alphas_cumprod)


@pytest.mark.parametrize(("set_alpha_to_one", "final"), [(True, 1.0), (False, 1 - 0.00085)])
def test_the_final_alpha(set_alpha_to_one: bool, final: float) -> None:
    ours = schedule(set_alpha_to_one=set_alpha_to_one)
    assert ours.final_alpha_cumprod == pytest.approx(final, abs=1e-7)
    like = torch.zeros(SHAPE)
    assert ours.alpha_cumprod(-12, like).item() == pytest.approx(final, abs=1e-7)
    assert ours.alpha_cumprod(0, like).item() == pytest.approx(1 - 0.00085, abs=1e-7)


def test_one_timestep_a_batch_element() -> None:
    toy = by_hand([0.9, 0.64, 0.36])
    looked_up = toy.alpha_cumprod(torch.tensor([2, -1]), torch.zeros(SHAPE))
    assert looked_up.shape == (2, 1, 1, 1, 1)
    assert looked_up.flatten().tolist() == pytest.approx([0.36, 0.96])
    assert toy.alpha_cumprod(1, torch.zeros(SHAPE)).shape == (1, 1, 1, 1, 1)


def test_hand_computed_noising() -> None:
    toy = by_hand([0.9, 0.64, 0.36])
    latents = torch.tensor([1.0, 1.0]).reshape(2, 1, 1, 1, 1)
    noise = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1)
    noisy = add_noise(latents, noise, torch.tensor([1, 2]), toy)
    assert noisy.flatten().tolist() == pytest.approx([0.8 + 0.6, 0.6 - 0.8])


def test_hand_computed_step() -> None:
    toy = by_hand([0.9, 0.64, 0.36])
    # z_2 = 0.6 z_0 + 0.8 eps with z_0 = 2, eps = 0.5; z_1 = 0.8 z_0 + 0.6 eps.
    sample = torch.full((1, 1, 1, 1, 1), 0.6 * 2 + 0.8 * 0.5)
    prediction = torch.full((1, 1, 1, 1, 1), 0.5)
    assert ddim_step(sample, prediction, 2, 1, toy).item() == pytest.approx(0.8 * 2 + 0.6 * 0.5)
    final = ddim_step(sample, prediction, 2, -1, toy).item()
    assert final == pytest.approx(0.96**0.5 * 2 + 0.2 * 0.5)


@pytest.mark.parametrize("timesteps", [[0, 999], [500, 3]])
def test_noising_is_diffusers(timesteps: list[int]) -> None:
    latents, noise = tensors(2)
    theirs = DDIMScheduler(**drop_class(SCHEDULER_CONFIG))
    expected = theirs.add_noise(latents, noise, torch.tensor(timesteps))
    noisy = add_noise(latents, noise, torch.tensor(timesteps), schedule())
    torch.testing.assert_close(noisy, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("num_steps", [4, 50, 75])
def test_a_sampling_run_is_diffusers(prediction_type: str, num_steps: int) -> None:
    ours = schedule(prediction_type)
    theirs = DDIMScheduler(**{**drop_class(SCHEDULER_CONFIG), "prediction_type": prediction_type})
    theirs.set_timesteps(num_steps)
    start, direction = tensors(2)
    steps = ours.sampling_steps(num_steps)
    assert [timestep for timestep, _ in steps] == theirs.timesteps.tolist()
    assert [later for _, later in steps[:-1]] == [timestep for timestep, _ in steps[1:]]
    assert steps[-1][1] < 0

    def model(latents: Tensor, timestep: float) -> Tensor:
        return 0.3 * latents + direction * (timestep / 1000)

    expected = start
    for timestep in theirs.timesteps.tolist():
        expected = theirs.step(model(expected, timestep), timestep, expected).prev_sample
    solver = make_solver("ddim", ours, num_steps)
    sampled = solve(start, model, solver.timesteps, solver)
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("length", [1, 20])
def test_a_step_along_the_truth_stays_on_the_line(prediction_type: str, length: int) -> None:
    latents, noise = tensors(2)
    ours = schedule(prediction_type)
    timesteps = torch.tensor([999, 500])
    noisy = add_noise(latents, noise, timesteps, ours)
    truth = true_prediction(latents, noise, timesteps, ours)
    earlier = ddim_step(noisy, truth, timesteps, timesteps - length, ours)
    expected = add_noise(latents, noise, timesteps - length, ours)
    torch.testing.assert_close(earlier, expected, rtol=0, atol=2e-5)
    assert not torch.allclose(earlier, noisy, rtol=0, atol=2e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_step_is_linear_in_the_prediction(prediction_type: str) -> None:
    sample, prediction, change = tensors(3)
    ours = schedule(prediction_type)
    times = torch.tensor([999, 501]), torch.tensor([998, 500])
    start = ddim_step(sample, prediction, *times, ours)
    end = ddim_step(sample, prediction + change, *times, ours)
    scale = prediction_scale(*times, ours, like=sample)
    assert scale.shape == (2, 1, 1, 1, 1)
    torch.testing.assert_close(end - start, scale * change, rtol=1e-8, atol=1e-10)


def test_the_prediction_s_scale_by_hand() -> None:
    ours = by_hand([0.64, 0.36])
    scale = prediction_scale(1, 0, ours, like=torch.zeros(1, 1, dtype=torch.float64))
    assert scale.item() == pytest.approx(0.6 - 0.8 / 0.6 * 0.8, rel=1e-6)


def test_the_velocity_by_hand() -> None:
    toy = NoiseSchedule(torch.tensor([0.9, 0.64]), 1.0, "v_prediction", lambda num_steps: [])
    one = torch.ones(1, 1, 1, 1, 1)
    velocity = true_prediction(2 * one, 0.5 * one, torch.tensor([1]), toy)
    assert velocity.item() == pytest.approx(0.8 * 0.5 - 0.6 * 2)


def test_the_velocity_is_diffusers() -> None:
    latents, noise = tensors(2)
    timesteps = torch.tensor([10, 990])
    theirs = DDIMScheduler(**drop_class(SCHEDULER_CONFIG))
    torch.testing.assert_close(
        true_prediction(latents, noise, timesteps, schedule("v_prediction")),
        theirs.get_velocity(latents, noise, timesteps),
        rtol=0,
        atol=1e-6,
    )


def test_an_epsilon_base_predicts_the_noise_itself() -> None:
    latents, noise = tensors(2)
    assert true_prediction(latents, noise, torch.tensor([10, 990]), schedule()) is noise


def test_a_step_keeps_the_sample_s_dtype() -> None:
    sample, prediction = tensors(2, torch.float32)
    stepped = ddim_step(sample, prediction.bfloat16(), torch.tensor([700, 500]), 400, schedule())
    assert stepped.dtype == torch.float32
    exact = ddim_step(
        sample, prediction.bfloat16().float(), torch.tensor([700, 500]), 400, schedule()
    )
    assert torch.equal(stepped, exact)


def test_batch_elements_step_on_their_own() -> None:
    sample, prediction = tensors(2)
    both = ddim_step(
        sample, prediction, torch.tensor([900, 30]), torch.tensor([880, -7]), schedule()
    )
    for index, (timestep, later) in enumerate([(900, 880), (30, -7)]):
        one = slice(index, index + 1)
        alone = ddim_step(sample[one], prediction[one], timestep, later, schedule())
        assert torch.equal(both[one], alone)


def test_zero_terminal_snr_really_changes_the_schedule() -> None:
    plain, rescaled = schedule("v_prediction"), schedule("v_prediction", rescale=True)
    assert plain.alphas_cumprod[-1] > 0.004
    assert rescaled.alphas_cumprod[-1] == pytest.approx(0, abs=1e-7)
    # arXiv:2305.08891, Algorithm 1: sqrt(abar) shifted to end at 0, scaled to keep its start.
    roots = plain.alphas_cumprod.double().sqrt()
    expected = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    torch.testing.assert_close(rescaled.alphas_cumprod.double().sqrt(), expected, rtol=0, atol=1e-3)
    assert plain.sampling_steps(10)[0][0] < 999
    assert rescaled.sampling_steps(10)[0][0] == 999
    assert rescaled.sampling_steps(10)[-1][1] < 0


def test_at_zero_snr_a_velocity_still_steps() -> None:
    rescaled = schedule("v_prediction", rescale=True)
    latents, noise = tensors(2)
    last = torch.tensor([999, 999])
    noisy = add_noise(latents, noise, last, rescaled)
    torch.testing.assert_close(noisy, noise, rtol=0, atol=1e-3)
    truth = true_prediction(latents, noise, last, rescaled)
    earlier = ddim_step(noisy, truth, last, last - 1, rescaled)
    torch.testing.assert_close(
        earlier, add_noise(latents, noise, last - 1, rescaled), rtol=0, atol=1e-3
    )
