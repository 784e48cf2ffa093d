"""The cost of a training step: counted right, and within what the method needs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from benchmarks.cases import Case, WanCase
from benchmarks.floor import Floor, count_floor
from benchmarks.profiling import profiled
from motionmatcher.bases.lora_linear import separate_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.bases.wan import MotionWan
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.cost.estimate import RunCost
from motionmatcher.cost.meter import CostMeter
from motionmatcher.cost.step import FakeStep, StepCost, empty_denoiser, lora_size
from motionmatcher.devices import weight_dtype
from motionmatcher.features.dual_attention import dual_attention_by, explicit_attention

CPU = torch.device("cpu")
SMALLEST = Case("tiny", frames=2, size=8)


@cache
def cost_of(case: Case) -> StepCost:
    """Count a step; once, for it takes seconds."""
    return case.fake(CPU).cost()


@cache
def floor_of(case: Case) -> Floor:
    """Count the floor; once, as above."""
    return count_floor(case)


@pytest.mark.parametrize("targets", [["attention"], ["temporal_conv", "spatial_conv"]])
def test_size_of_the_lora_is_that_of_its_weights(targets: list[str]) -> None:
    settings = replace(SMALLEST.settings, lora_rank=3, lora_targets=targets)
    made = empty_denoiser(MotionUNet, SMALLEST.config, settings).lora_parameters().values()
    assert lora_size(MotionUNet, SMALLEST.config, settings) == sum(map(torch.numel, made))


def test_flops_of_a_linear_layer_by_hand() -> None:
    with FakeTensorMode(), CostMeter() as meter:
        layer = nn.Linear(3, 5)
        output = layer(torch.ones(7, 3, requires_grad=True))
        assert meter.flops == 2 * 7 * 3 * 5
        output.sum().backward()
    assert meter.flops == 3 * 2 * 7 * 3 * 5, "input and weight gradients"


def test_fused_attention_is_counted_and_keeps_no_probabilities() -> None:
    shape = (1, 2, 64, 16)  # (N, heads, tokens, width)
    with FakeTensorMode(), CostMeter() as meter:
        query, key, value = (torch.ones(shape, requires_grad=True) for _ in range(3))
        before = meter.live_bytes
        output = F.scaled_dot_product_attention(query, key, value)
        product = 2 * 2 * 64 * 64 * 16
        assert meter.flops == 2 * product
        assert meter.live_bytes - before < 2 * 64 * 64 * 4, "less than the probabilities"
        output.sum().backward()
    assert meter.flops == 7 * product, "the scores once more, and four gradients"


def test_memory_of_what_is_alive_by_hand() -> None:
    with FakeTensorMode(), CostMeter() as meter:
        first = torch.zeros(256)
        view = first.view(16, 16).t()
        assert meter.live_bytes == 1024, "views take nothing"
        second = view + 1
        assert meter.live_bytes == 2048
        del first, second
        assert meter.live_bytes == 1024, "a view keeps its storage"
        del view
        assert (meter.live_bytes, meter.peak_bytes) == (0, 2048)


def test_what_is_repeated_by_hand() -> None:
    with FakeTensorMode(), CostMeter() as meter:
        matrix = torch.zeros(16, 16)  # 1024 bytes
        kept = [matrix]
        meter.repeat(5)
        kept.append(matrix @ matrix)
        torch.zeros(1024)  # 4096 bytes, gone at once
        meter.repeat(1)
        kept.append(matrix + 1)
        assert meter.flops == 5 * 2 * 16**3
        assert meter.live_bytes == 1024 * 7
        assert meter.peak_bytes == 1024 * 6 + 4096, "at the end of the fifth"
        meter.repeat(5)
        del kept[1]
        meter.repeat(3)
        torch.zeros(256)
        meter.repeat(1)
    assert meter.live_bytes == 1024 * 2, "five were taken out"
    assert meter.peak_bytes == 1024 * 6 + 4096


@dataclass(frozen=True)
class DeepWan(WanCase):
    """Nine small blocks: four, one that is read, and four."""

    width: str = "tiny"
    frames: int = 5
    size: int | tuple[int, int] = 8
    rank: int = 2

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "num_layers": 9}

    def _extractor_settings(self) -> MotionExtractorSettings:
        return MotionExtractorSettings(mode=self.mode, blocks=[4])


@pytest.mark.parametrize(
    ("what", "mode", "updates"),
    [
        ("full", "tangent", 1),
        ("selective", "difference", 1),
        ("none", "tangent", 2),
    ],
)
def test_a_shortened_transformer_costs_what_the_whole_one_does(
    what: str, mode: str, updates: int
) -> None:
    case = DeepWan(mode=mode)
    settings = replace(case.settings, gradient_accumulation_steps=updates)
    short = MotionWan.shortened(case.config, settings.motion_extractor)
    assert short.config["num_layers"] == 3 + 1 + 3
    assert short.settings.blocks == [3]
    times = [1, 2, 1, 1, 1, 2, 1]
    assert short.repeats == {f"blocks.{block}": number for block, number in enumerate(times)}

    def step_of(
        config: Mapping[str, Any], maps: MotionExtractorSettings, *repeats: Any
    ) -> FakeStep:
        denoiser = empty_denoiser(MotionWan, config, settings)
        denoiser.recompute_in_backward(what)
        own = replace(settings, motion_extractor=maps)
        sizes = case.latent_shape, case.num_tokens
        return FakeStep.build(denoiser, case.schedule, own, *sizes, CPU, None, *repeats)

    counted = step_of(*short)
    whole = step_of(case.config, settings.motion_extractor)
    assert counted.cost() == whole.cost()
    assert counted.lora_modules() == whole.lora_modules() == 9 * 6
    assert counted.lora_parameters() == whole.lora_parameters()


@pytest.mark.parametrize(
    "case",
    [
        SMALLEST,
        Case("tiny", frames=3, size=16, checkpointing=True, mode="tangent"),
        Case("tiny", frames=4, size=16, precision="bf16"),
    ],
    ids=lambda case: f"{case.frames} frames, {case.mode}, {case.precision}",
)
def test_estimated_peak_is_what_the_allocator_gives(case: Case) -> None:
    cost = cost_of(case)
    step = case.real(CPU, weight_dtype(case.precision, CPU))
    assert cost.parts["weights"] + cost.parts["lora"] == sum(
        parameter.nbytes for parameter in step.base.denoiser.parameters()
    )
    measured = profiled(lambda: step.loss().total.backward(), CPU).peak_bytes
    assert cost.activations == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("objective", ["denoising", "frame_difference", "vmc", "motiondirector"])
def test_other_objectives_cost_the_student_alone(objective: str) -> None:
    pixel = cost_of(replace(SMALLEST, objective=objective)).flops
    floor = floor_of(SMALLEST)
    student = floor.student + floor.student_backward + floor.lora + floor.lora_backward
    assert pixel == pytest.approx(student, rel=0.03)
    assert pixel < 0.8 * cost_of(SMALLEST).flops


def test_accumulation_multiplies_flops_and_finds_gradients_there() -> None:
    once, step = cost_of(SMALLEST), SMALLEST.fake(CPU)
    twice = replace(step, settings=replace(step.settings, gradient_accumulation_steps=3)).cost()
    assert twice.flops == 3 * once.flops
    assert 0 < twice.activations - once.activations <= once.parts["lora"]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_takes_no_more_than_the_floor(checkpointing: bool) -> None:
    # The full-size structure of four levels; the widths' ratios are Zeroscope's.
    case = Case("narrow", checkpointing=checkpointing)
    floor = floor_of(Case("narrow"))
    flops = case.fake(CPU).cost().flops
    assert flops <= 1.03 * (floor.checkpointed if checkpointing else floor.plain)
    assert flops > 0.95 * (floor.checkpointed if checkpointing else floor.plain)


def test_a_step_of_wan_takes_little_more_than_the_floor_and_fits() -> None:
    # Wan 2.1 1.3B at 480x832 with 33 frames, with 6 of its 30 blocks, of which 3 of 15 are read through.
    case = WanCase("shallow")
    with dual_attention_by(explicit_attention):  # as a GPU attends
        cost, floor = case.fake(CPU).cost(), count_floor(case)
    assert floor.checkpointed < cost.flops <= 1.05 * floor.checkpointed
    blocks = case.config["num_layers"]
    tokens = MotionWan.num_tokens(case.config, case.latent_shape)
    assert tokens == 14040
    # What each of the other blocks adds: its weights, LoRA and moments, and the input that is kept of it.
    parts = sum(cost.parts.values()) / blocks
    kept = tokens * 12 * 128 * 2
    peak = cost.peak_bytes + (30 - blocks) * (parts + kept)
    assert 6.5 * 2**30 < peak <= 7.5 * 2**30


def test_recomputed_activations_take_less_memory_and_no_products() -> None:
    case = Case("tiny", frames=4, size=16, rank=8)
    step = case.fake(CPU)
    plain = step.cost()
    with separate_lora(step.base.denoiser):
        with_pefts_lora = step.cost()
    assert plain.flops == with_pefts_lora.flops
    assert plain.activations < 0.85 * with_pefts_lora.activations
    step.base.denoiser.recompute_in_backward("selective")
    cheap = step.cost()
    floor = floor_of(case)
    lora = floor.lora + floor.lora_backward
    assert cheap.activations < 0.65 * with_pefts_lora.activations
    assert cheap.activations < 0.75 * plain.activations
    assert 0 < cheap.flops - plain.flops < 0.25 * lora, "but the LoRA's second product"


def run_cost(available_bytes: int, **settings: object) -> RunCost:
    parts = {"weights": 100, "lora": 10, "optimizer": 20}
    return RunCost(
        lora_modules=1,
        lora_parameters=2,
        steps={
            "none": StepCost(flops=10**12, parts=parts, activations=870),
            "selective": StepCost(flops=10**12, parts=parts, activations=470),
            "full": StepCost(flops=2 * 10**12, parts=parts, activations=70),
        },
        dtype=torch.float32,
        device=CPU,
        available_bytes=available_bytes,
        settings=replace(Case().settings, max_train_steps=500, **settings),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("available", "checkpointing", "advice"),
    [
        (1150, False, "this fits"),
        (1149, False, "this does not fit: set gradient_checkpointing: selective"),
        (689, False, "this does not fit: set gradient_checkpointing: full"),
        (230, True, "this fits"),
        (229, False, "try gradient_checkpointing: full, mixed_precision: bf16, fewer"),
        (229, True, "try mixed_precision: bf16, fewer"),
    ],
)
def test_advice(available: int, checkpointing: bool, advice: str) -> None:
    cost = run_cost(available, gradient_checkpointing="full" if checkpointing else "none")
    assert advice in cost.advice()
    assert cost.values()["fits"] is (advice == "this fits")


def test_flops_of_a_run() -> None:
    assert run_cost(1).flops_of_run == 500 * 10**12
    assert run_cost(1, gradient_checkpointing="full").flops_of_run == 1000 * 10**12
