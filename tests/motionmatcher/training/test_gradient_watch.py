"""A LoRA that is not training is named once, after the steps that were watched."""

import pytest
import torch
from torch import nn

from motionmatcher.training.gradient_watch import GradientWatch

NAMES = ["block.a", "block.b", "block.c"]


def parameters() -> dict[str, nn.Parameter]:
    return {
        f"{name}.lora_{letter}.default.weight": nn.Parameter(torch.zeros(2, 2))
        for name in NAMES
        for letter in "AB"
    }


def set_gradients(weights: dict[str, nn.Parameter], values: dict[str, float]) -> None:
    """Give parameters whose name starts so a constant gradient; the others none."""
    for name, weight in weights.items():
        found = [value for start, value in values.items() if name.startswith(start)]
        weight.grad = torch.full((2, 2), found[0]) if found else None


def watch_steps(
    watch: GradientWatch, weights: dict[str, nn.Parameter], values: dict[str, float], steps: int
) -> list[str]:
    warnings = []
    for _ in range(steps):
        set_gradients(weights, values)
        warnings += watch.observe()
    return warnings


def test_a_lora_that_trains_is_not_mentioned() -> None:
    weights = parameters()
    watch = GradientWatch(weights, adam_epsilon=1e-8, steps=3)
    assert watch_steps(watch, weights, {"block": 1e-3}, 10) == []


def test_modules_without_gradient_are_named_once() -> None:
    weights = parameters()
    watch = GradientWatch(weights, adam_epsilon=1e-8, steps=3)
    values = {"block.a": 1e-3, "block.b": 0.0}
    assert watch_steps(watch, weights, values, 2) == []
    assert watch_steps(watch, weights, values, 1) == [
        "2 of 3 LoRA modules (block.b, block.c) got no gradient in the first 3 steps and will not "
        "train: check loss_weights, lora_targets and min_timestep."
    ]
    assert watch_steps(watch, weights, values, 5) == []


def test_gradients_near_epsilon_are_named_with_what_to_do() -> None:
    weights = parameters()
    watch = GradientWatch(weights, adam_epsilon=1e-8, steps=1)
    values = {"block.a": 1e-3, "block.b": 9e-8, "block.c": 2e-8}
    assert watch_steps(watch, weights, values, 1) == [
        "2 of 3 LoRA modules (block.b, block.c) got gradients (median 9.0e-08) near adam_epsilon "
        "(1e-08), which Adam hardly follows: lower adam_epsilon to 9e-12 or raise loss_weights."
    ]


@pytest.mark.parametrize(("size", "warned"), [(9.9e-8, True), (1.01e-7, False)])
def test_ten_times_epsilon_is_enough(size: float, warned: bool) -> None:
    weights = parameters()
    watch = GradientWatch(weights, adam_epsilon=1e-8, steps=1)
    assert bool(watch_steps(watch, weights, {"block": size}, 1)) == warned


def test_a_module_counts_by_its_largest_gradient() -> None:
    weights = parameters()
    watch = GradientWatch(weights, adam_epsilon=1e-8, steps=3)
    # A has no gradient while B is zero, and one step may be faint.
    first = {f"{name}.lora_B": 1e-3 for name in NAMES} | {f"{name}.lora_A": 0.0 for name in NAMES}
    assert watch_steps(watch, weights, first, 1) == []
    assert watch_steps(watch, weights, {"block": 1e-12}, 2) == []


def test_long_lists_are_shortened() -> None:
    weights = {f"m{i}.lora_B.default.weight": nn.Parameter(torch.zeros(1)) for i in range(5)}
    (warning,) = GradientWatch(weights, 1e-8, steps=1).observe()
    assert warning.startswith("5 of 5 LoRA modules (m0, m1, m2, …) got no gradient")
