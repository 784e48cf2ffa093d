"""What is measured on a GPU: the steps that answer a question each, the most important first."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from benchmarks.cases import Case, WanCase
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.step import FakeStep, TrainingStep
from motionmatcher.devices import weight_dtype
from motionmatcher.features.dual_attention import (
    dual_attention_by,
    explicit_attention,
    fused_attention,
)


@dataclass(frozen=True)
class StepCase:
    """A training step, and how it is computed.

    Attributes:
        case: Size, mode and precision.
        recomputed: As `gradient_checkpointing` in the settings.
        compiled: As `compile` there.
        fused: Dual numbers attend by fused attention, or else as the program has them on a GPU.
    """

    case: Case
    recomputed: str
    compiled: bool = False
    fused: bool = False

    @property
    def name(self) -> str:
        """Such as "bf16 tangent full"; compiling changes nothing of what is counted."""
        attention = " fused" if self.fused else ""
        return f"{self.case.precision} {self.case.mode} {self.recomputed}{attention}"

    def attention(self) -> AbstractContextManager[None]:
        """Have dual numbers within the block attend as asked."""
        return dual_attention_by(fused_attention if self.fused else explicit_attention)

    @property
    def settings(self) -> TrainSettings:
        """Settings of such a training."""
        recomputed, compiled = self.recomputed, self.compiled
        return replace(self.case.settings, gradient_checkpointing=recomputed, compile=compiled)

    def fake(self, device: torch.device) -> FakeStep:
        """Make the step on fake tensors."""
        step = self.case.fake(device)
        step.base.denoiser.recompute_in_backward(self.recomputed)
        return step

    def real(self, device: torch.device) -> TrainingStep:
        """Make the step with random weights."""
        step = self.case.real(device, weight_dtype(self.case.precision, device))
        if self.compiled:
            # Of inductor's, a CPU that tries the program has no need.
            step.base.denoiser.compile_layers("inductor" if device.type == "cuda" else "eager")
        step.base.denoiser.recompute_in_backward(self.recomputed)
        return step


ZEROSCOPE, ZEROSCOPE_QUICK = Case("full"), Case("tiny", 2, 8)
WAN, WAN_QUICK = WanCase(checkpointing=False), WanCase("tiny", 5, 8, checkpointing=False)

# Precision, mode, recomputation, and how dual numbers attend if not as the program has them. The student's
# precision and the mode decide the speed of a step, the recomputation its memory; of their product this is
# what someone who sets up a run asks.
_STEPS = {
    "zeroscope": (
        # What to use on a GPU, if the theory is right: half precision all through.
        ("fp16", "tangent", "full"),
        # What the paper's configs have: how much do fp32 passes of the extractor cost?
        ("fp16", "difference", "full"),
        # Two thirds of the memory of none; does it cost no time, as counted?
        ("fp16", "tangent", "selective"),
        # What does recomputing everything cost, and does the estimate hold where memory is largest?
        ("fp16", "tangent", "none"),
        # Is fused attention of dual numbers quicker on a GPU, as it is on a CPU in half precision?
        ("fp16", "tangent", "full", "fused"),
        # Is bf16 as fast? It needs no loss scale.
        ("bf16", "tangent", "full"),
        # The largest part of it in fp32: does the estimate hold there too?
        ("fp16", "difference", "none"),
    ),
    "wan": (
        # What its config has.
        ("bf16", "tangent", "full"),
        # Fused attention of dual numbers has more operations and less memory to pass over: quicker?
        ("bf16", "tangent", "full", "fused"),
        # A fifth fewer operations for 27 GiB more: does the time follow?
        ("bf16", "tangent", "selective"),
        # The same with 64 GiB, which an 80 GB card may just hold.
        ("bf16", "tangent", "none"),
        # In bf16 only the extractor's fp32 passes make sense of a difference. Slow, so last.
        ("bf16", "difference", "full"),
    ),
}  # fmt: skip
# Is compiling worth its minutes? For the run as it should be, and where nothing is recomputed.
_COMPILED = {
    "zeroscope": (("fp16", "tangent", "full"), ("fp16", "tangent", "none")),
    "wan": (("bf16", "tangent", "full"),),
}
# How many of them a try of the program takes.
_QUICK = {"zeroscope": 2, "wan": 1}


def _size_of(base: str, quick: bool) -> Case:
    """Give the size at which a base, "zeroscope" or "wan", is measured."""
    if base == "wan":
        return WAN_QUICK if quick else WAN
    return ZEROSCOPE_QUICK if quick else ZEROSCOPE


def steps_of(base: str, quick: bool, compiled: bool = False) -> list[StepCase]:
    """List the steps of a base that are measured, the most important first.

    Args:
        base: "zeroscope" or "wan".
        quick: Few of them, and tiny.
        compiled: Those with compiled layers, or those without.
    """
    chosen = (_COMPILED if compiled else _STEPS)[base]
    if quick:
        chosen = chosen[: 1 if compiled else _QUICK[base]]
    size = _size_of(base, quick)
    return [
        StepCase(replace(size, precision=precision, mode=mode), recomputed, compiled, bool(fused))
        for precision, mode, recomputed, *fused in chosen
    ]
