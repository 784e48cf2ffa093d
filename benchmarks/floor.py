"""The fewest FLOPs that a training step of the method can take, counted on plain diffusers' UNet.

Nothing of our own passes is counted here. The parts, without recomputation:

* the student's forward pass, and its backward pass with a frozen base: the gradient of all that
  comes after the first LoRA layer, attention's own, no weight gradients;
* the LoRA: A and B forward, and twice that backward (input and weight);
* the features of the prediction (encoder up to the last layer that is read) forward and backward,
  the latter to the latents;
* the features of the target, forward.
"""

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import UNet3DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.cases import NUM_TOKENS, Case
from motionmatcher.bases.unet3d import find_targets
from motionmatcher.cost.meter import CostMeter


@dataclass(frozen=True)
class Floor:
    """FLOPs of the parts of a step."""

    student: int
    student_backward: int
    lora: int
    features: int
    features_backward: int

    @property
    def plain(self) -> int:
        """A step without gradient checkpointing."""
        backward = self.student_backward + self.features_backward
        return self.student + self.lora + 2 * self.features + backward

    @property
    def checkpointed(self) -> int:
        """A step with it: the student and the features are computed once more."""
        return self.plain + self.student + self.features


def count_floor(case: Case) -> Floor:
    """Count the floor of a case with torch's formulas, on fake tensors."""
    with init_empty_weights():
        unet = UNet3DConditionModel(**case.unet_config)
    unet.eval().requires_grad_(False)
    tokens = _TokenCounter(unet)
    meter = CostMeter()
    with FakeTensorMode(), meter:
        _fill(unet)
        sample = torch.zeros(1, 4, case.frames, case.size, case.size)
        text = torch.zeros(1, NUM_TOKENS, unet.config.cross_attention_dim)

        def run(latents: Tensor) -> Tensor:
            return unet(latents, torch.zeros(1, dtype=torch.long), text).sample

        # What the LoRA can change begins where its first layer is: after `conv_in`.
        hook = unet.conv_in.register_forward_hook(lambda *args: args[2].requires_grad_())
        prediction = run(sample)
        student = meter.flops
        prediction.sum().backward()
        student_backward = meter.flops - student
        hook.remove()

        encoder = _EncoderEnd(unet, _last_read_block(case))
        counts = []
        for latents in (sample, sample.clone().requires_grad_()):
            before = meter.flops
            try:
                run(latents)
            except _Reached as reached:
                counts.append(meter.flops - before)
                if latents.requires_grad:
                    before = meter.flops
                    reached.hidden.sum().backward()
                    counts.append(meter.flops - before)
        encoder.remove()
    features, _, features_backward = counts
    lora = sum(
        2 * case.rank * count * (module.in_features + module.out_features)
        for module, count in tokens.counted.items()
    )
    return Floor(student, student_backward, 3 * lora, features, features_backward)


class _Reached(Exception):
    """The encoder has got as far as features need it."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _EncoderEnd:
    """Stops a pass after the last temporal transformer of a down block."""

    def __init__(self, unet: nn.Module, block: int) -> None:
        layers: Any = unet.get_submodule(f"down_blocks.{block}.temp_attentions")

        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            raise _Reached(output[0] if isinstance(output, tuple) else output.sample)

        self.remove = layers[-1].register_forward_hook(stop).remove


class _TokenCounter:
    """Counts how many tokens each module that gets a LoRA has seen in its first pass."""

    def __init__(self, unet: nn.Module) -> None:
        self.counted: dict[nn.Linear, int] = {}
        for name in find_targets(unet, "attention"):
            unet.get_submodule(name).register_forward_hook(self._count)

    def _count(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.counted.setdefault(module, output.numel() // module.out_features)


def _last_read_block(case: Case) -> int:
    scale = case.settings.motion_extractor.spatial_scale_factor
    return scale.bit_length() - 1


def _fill(unet: nn.Module) -> None:
    for module in unet.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = nn.Parameter(torch.empty(parameter.shape), requires_grad=False)
            setattr(module, name, weight)
