"""The fewest FLOPs that a training step of the method can take, counted on plain diffusers' UNet.

Nothing of our own passes is counted here. The parts, without recomputation:

* the student's forward pass, and its backward pass with a frozen base: the gradient of all that
  comes after the first LoRA layers, no weight gradients, four products for each attention;
* the LoRA: A and B forward, and twice that backward (input and weight), once (weight) where nothing
  before it is trained;
* the features of the prediction (encoder up to query and key of the last layer that is read) forward
  and backward, the latter to the latents;
* the features of the target, forward.

The maps themselves are left out: they are products of the attention that is counted anyway, but for
the last layer's, which is less than a ten-thousandth.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import UNet3DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.cases import NUM_TOKENS, Case
from motionmatcher.bases.unet3d import find_targets
from motionmatcher.cost.meter import CostMeter


@dataclass(frozen=True)
class Floor:
    """FLOPs of the parts of a step."""

    student: int
    student_backward: int
    lora: int
    lora_backward: int
    features: int
    features_backward: int

    @property
    def plain(self) -> int:
        """A step without gradient checkpointing."""
        backward = self.student_backward + self.lora_backward + self.features_backward
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
    lora = LoraCounter(unet, find_targets(unet, "attention"), case.rank)
    meter = CostMeter()
    # Fused attention computes its scores once more in backward, which the fewest FLOPs do not have.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), meter:
        _fill(unet)
        sample = torch.zeros(1, 4, case.frames, case.size, case.size)
        text = torch.zeros(1, NUM_TOKENS, unet.config.cross_attention_dim)

        def run(latents: Tensor) -> Tensor:
            return unet(latents, torch.zeros(1, dtype=torch.long), text).sample

        with lora.counting():
            prediction = run(sample)
        student = meter.flops
        prediction.sum().backward()
        student_backward = meter.flops - student

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
                    (reached.query.sum() + reached.key.sum()).backward()
                    counts.append(meter.flops - before)
        encoder.remove()
    features, _, features_backward = counts
    return Floor(
        student, student_backward, lora.forward, lora.backward, features, features_backward
    )


class _Reached(Exception):
    """The encoder has got as far as features need it: to query and key of the last map."""

    def __init__(self, query: Tensor, key: Tensor) -> None:
        super().__init__()
        self.query, self.key = query, key


class _EncoderEnd:
    """Stops a pass within the last temporal attention of a down block."""

    def __init__(self, unet: nn.Module, block: int) -> None:
        layers: Any = unet.get_submodule(f"down_blocks.{block}.temp_attentions")
        attention = layers[-1].transformer_blocks[-1].attn2
        queries: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            queries.append(output)

        def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
            raise _Reached(queries.pop(), output)

        self._hooks = [
            attention.to_q.register_forward_hook(keep),
            attention.to_k.register_forward_hook(stop),
        ]

    def remove(self) -> None:
        """Let passes run on."""
        for hook in self._hooks:
            hook.remove()


class LoraCounter:
    """Counts the LoRA's FLOPs in a pass, and lets gradients begin where the first LoRA layers are.

    Attributes:
        forward: FLOPs.
        backward: FLOPs.
    """

    def __init__(self, unet: nn.Module, names: Sequence[str], rank: int) -> None:
        self.layers, self.rank = [unet.get_submodule(name) for name in names], rank
        self.forward = self.backward = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the pass within the block."""
        hooks = [layer.register_forward_hook(self._count) for layer in self.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _count(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        tokens = output.numel() // module.out_features
        flops = 2 * self.rank * tokens * (module.in_features + module.out_features)
        self.forward += flops
        self.backward += 2 * flops
        if not inputs[0].requires_grad:  # nothing before it is trained: no gradient of its input
            self.backward -= 2 * self.rank * tokens * module.in_features
        return output if output.requires_grad else output.requires_grad_()


def _last_read_block(case: Case) -> int:
    scale = case.settings.motion_extractor.spatial_scale_factor
    return scale.bit_length() - 1


def _fill(unet: nn.Module) -> None:
    for module in unet.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = nn.Parameter(torch.empty(parameter.shape), requires_grad=False)
            setattr(module, name, weight)
