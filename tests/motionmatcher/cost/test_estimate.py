"""What cannot fit into memory is refused before weights are read, with what it would take."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.profiling import profiled
from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost import estimate
from motionmatcher.cost.estimate import (
    RunCost,
    check_least_memory,
    check_memory,
    check_sampling_memory,
    estimate_run,
    least_bytes,
)
from motionmatcher.cost.step import FakeStep, StepCost, sampling_peak_bytes, tensor_bytes
from motionmatcher.diffusion.sampling import SamplingSettings
from motionmatcher.errors import UserError
from motionmatcher.objectives.objective import Batch, Objective, TrainingLoss
from motionmatcher.training.checks import check_training

CPU = torch.device("cpu")


@pytest.fixture
def layout(base_folder: Path) -> BaseLayout:
    return find_base(str(base_folder))


@pytest.fixture
def settings(run_values: dict[str, Any]) -> TrainSettings:
    settings = parse_settings(TrainSettings, run_values, "test")
    return check_training(settings).settings


def free(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(estimate, "available_bytes", lambda device: int(size))


def test_the_least_memory_by_hand(layout: BaseLayout) -> None:
    # The UNet's first layer has 32 channels, at an eighth of the size; the VAE's has 32 at full size.
    assert least_bytes(layout, 100, 6, 80, 64, torch.float16) == 2 * 100 * 6 * 10 * 8 * 32 * 2
    assert least_bytes(layout, 1, 6, 80, 64, torch.float16) == 2 * 80 * 64 * 32 * 4


def test_a_step_of_an_absurd_size(
    layout: BaseLayout, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = replace(settings, train_batch_size=10_000)
    least = 2 * 10_000 * 4 * 4 * 4 * 32 * 4
    free(monkeypatch, least)
    assert check_least_memory(layout, many, CPU) == least
    free(monkeypatch, least - 1)
    message = (
        r"^a step with train_batch_size 10000 and 4 frames of 32x32 takes 0\.15 GiB or more, and "
        r"0\.15 GiB are free on cpu: choose fewer frames"
    )
    with pytest.raises(UserError, match=message):
        check_least_memory(layout, many, CPU)


def test_a_run_is_counted_where_it_comes_near(
    layout: BaseLayout, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StepCost(flops=1, parts={"weights": 2**30}, activations=300)
    cost = RunCost(1, 1, {"none": step, "full": step}, torch.float32, CPU, 0, settings)
    peak = 2**30 + 300

    def counted(*run: object) -> RunCost:
        assert run == (layout, settings, CPU, None)
        return replace(cost, available_bytes=estimate.available_bytes(CPU))

    monkeypatch.setattr(estimate, "estimate_run", counted)
    monkeypatch.setattr(estimate, "LAYERS_OF_STEP", 10**6)
    free(monkeypatch, peak)
    check_memory(layout, settings, CPU)
    free(monkeypatch, peak - 1)
    with pytest.raises(
        UserError, match=r"^the run takes .* GiB, and .* free on cpu: this does not"
    ):
        check_memory(layout, settings, CPU)
    monkeypatch.setattr(estimate, "estimate_run", lambda *_: pytest.fail("counted"))
    free(monkeypatch, 2**40)
    check_memory(layout, settings, CPU)


@pytest.mark.parametrize(
    ("settings_own", "peaks", "counted", "advice"),
    [
        ("none", {"none": 100}, ["none"], "this fits"),
        ("full", {"full": 100}, ["full"], "this fits"),
        (
            "none",
            {"none": 101, "selective": 100},
            ["none", "selective"],
            "checkpointing: selective",
        ),
        (
            "selective",
            {"selective": 101, "full": 100},
            ["selective", "full"],
            "checkpointing: full",
        ),
        ("full", {"full": 101}, ["full"], "this does not fit: try"),
    ],
)
def test_no_more_is_counted_than_what_fits(
    settings_own: str,
    peaks: dict[str, int],
    counted: list[str],
    advice: str,
    layout: BaseLayout,
    settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cost(step: FakeStep) -> StepCost:
        return StepCost(flops=1, parts={}, activations=peaks[step.base.denoiser._recomputed])

    monkeypatch.setattr(FakeStep, "cost", cost)
    free(monkeypatch, 115)
    own = replace(settings, gradient_checkpointing=settings_own)
    found = estimate_run(layout, own, CPU)
    assert list(found.steps) == counted
    assert advice in found.advice()


class Asking(Objective):
    """Asks for a number, which a step on fake tensors does not have."""

    name = "asking"
    ask: Callable[[Tensor], object]

    def loss(self, batch: Batch) -> TrainingLoss:
        type(self).ask(batch.latents)
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("ask", "operation"),
    [
        (lambda latents: latents.mean().item(), "aten._local_scalar_dense"),
        (lambda latents: latents[latents > 0], "aten.nonzero"),
        (lambda latents: latents.numpy(), "Tensor.numpy"),
    ],
)
def test_an_objective_that_asks_for_numbers_trains_uncounted(
    ask: Callable[[Tensor], object],
    operation: str,
    layout: BaseLayout,
    settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Asking, "ask", staticmethod(ask), raising=False)
    monkeypatch.setattr(estimate, "LAYERS_OF_STEP", 10**12)
    check_memory(layout, settings, CPU, Asking())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "note: what a step costs cannot be counted: the objective 'asking' asks for the numbers in "
        f"a tensor ({operation}"
    )


def test_an_objective_s_own_faults_are_not_hidden(
    layout: BaseLayout, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asking, "ask", staticmethod(lambda latents: None), raising=False)
    with pytest.raises(ZeroDivisionError):
        estimate_run(layout, settings, CPU, Asking())


def test_sampling_is_refused_with_what_it_takes(
    layout: BaseLayout, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = replace(
        SamplingSettings.of_run(settings), num_frames=10_000, width=8192, height=8192
    )
    message = (
        r"^generating 3 videos at a time of 10000 frames of 8192x8192 takes 15,000\.00 GiB or more, "
        "and .* GiB are free on cpu: choose fewer frames, a smaller width and height, or a smaller batch"
    )
    with pytest.raises(UserError, match=message):
        check_sampling_memory(layout, sampling, 3, "no", CPU)
    one = SamplingSettings.of_run(settings)
    peak = sampling_peak_bytes(
        MotionUNet, layout.denoiser.config, (2, 4, 4, 4, 4), 77, torch.float32, CPU
    )
    monkeypatch.setattr(estimate, "LAYERS_OF_SAMPLING", 10**6)
    free(monkeypatch, peak)
    check_sampling_memory(layout, one, 1, "no", CPU)
    free(monkeypatch, peak - 1)
    with pytest.raises(
        UserError, match=r"^generating 1 video at a time of 4 frames of 32x32 takes"
    ):
        check_sampling_memory(layout, one, 1, "no", CPU)


def test_the_peak_of_sampling_is_what_the_allocator_gives(layout: BaseLayout) -> None:
    base = load_base_model(layout, CPU)
    latents, states = torch.zeros(2, 4, 4, 16, 16), torch.zeros(2, 77, 32)

    @torch.no_grad()
    def predict() -> None:
        base.denoiser.predict(latents, 500, states)

    weights = tensor_bytes(base.denoiser.parameters())
    given = tensor_bytes([latents, states])
    counted = sampling_peak_bytes(
        MotionUNet, layout.denoiser.config, latents.shape, 77, torch.float32, CPU
    )
    measured = profiled(predict, CPU).peak_bytes
    assert counted - weights - given == pytest.approx(measured, rel=0.1)
