"""The fewest FLOPs that a training step of the method can take, counted on plain diffusers' networks.

Nothing of our own passes is counted here. The parts, without recomputation:

* the student's forward pass, and its backward pass with a frozen base: the gradient of all that
  comes after the first LoRA layers, no weight gradients, four products for each attention;
* the LoRA: A and B forward, and twice that backward (input and weight), once (weight) where nothing
  before it is trained;
* the features of the prediction (all up to query and key of the last layer that is read) forward and
  backward, the latter to the latents; in tangent mode they are the transposed pass;
* the features of the target, forward; in tangent mode the dual pass instead, two products for each
  Linear and convolution and six for each attention.

Attention over all of a video's tokens never fits into memory as a matrix, so there the backward pass of
attention is that of fused attention: five products.

The maps themselves are left out: they are products of the attention that is counted anyway, but for
the last layer's, which is less than a ten-thousandth.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.cases import Case
from motionmatcher.cost.meter import CostMeter
from motionmatcher.features.extractor import without_torch_s_warnings


@dataclass(frozen=True)
class Floor:
    """FLOPs of the parts of a step; `target` is the dual pass in tangent mode."""

    student: int
    student_backward: int
    lora: int
    lora_backward: int
    target: int
    features: int
    features_backward: int

    @property
    def plain(self) -> int:
        """A step without gradient checkpointing."""
        backward = self.student_backward + self.lora_backward + self.features_backward
        return self.student + self.lora + self.target + self.features + backward

    @property
    def checkpointed(self) -> int:
        """A step with it: the student and the features are computed once more."""
        return self.plain + self.student + self.features


def count_floor(case: Case) -> Floor:
    """Count the floor of a case with torch's formulas, on fake tensors."""
    with init_empty_weights():
        network = case.plain_class(**case.config)
    network.eval().requires_grad_(False)
    targets = case.denoiser_class.lora_targets(network, "attention")
    lora = LoraCounter(network, targets, case.rank)
    meter = CostMeter()
    # Fused attention computes its scores once more in backward, which the fewest FLOPs do not have.
    attention = SDPBackend.FLASH_ATTENTION if case.attends_over_all else SDPBackend.MATH
    with FakeTensorMode(allow_non_fake_inputs=True), meter:
        _fill(network)
        sample = torch.zeros(1, *case.latent_shape)
        text = torch.zeros(1, case.num_tokens, network.config[case.denoiser_class.text_width_key])

        def run(latents: Tensor) -> Tensor:
            return network(latents, torch.zeros(1, dtype=torch.long), text).sample

        def counted(call: Callable[[], Any]) -> int:
            before = meter.flops
            call()
            return meter.flops - before

        def read(latents: Tensor) -> tuple[Tensor, Tensor]:
            try:
                run(latents)
            except _Reached as reached:
                return reached.query, reached.key
            raise AssertionError("the pass went on")

        with sdpa_kernel(attention):
            with lora.counting():
                prediction = run(sample)
            student = meter.flops
            student_backward = counted(prediction.sum().backward)

            _stop_at(network.get_submodule(_last_read(network, case)))
            features = target = counted(lambda: read(sample))
            query, key = read(sample.clone().requires_grad_())
            features_backward = counted((query.sum() + key.sum()).backward)
        if case.mode == "tangent":
            # Fused attention has no forward mode, whose formulas need the probabilities anyway.
            with (
                torch.no_grad(),
                without_torch_s_warnings(),
                forward_ad.dual_level(),
                sdpa_kernel(SDPBackend.MATH),
            ):
                dual = forward_ad.make_dual(sample, torch.ones_like(sample))
                target = counted(lambda: read(dual))
    return Floor(
        student, student_backward, lora.forward, lora.backward, target, features, features_backward
    )


class _Reached(Exception):
    """The pass has got as far as features need it: to query and key of the last map."""

    def __init__(self, query: Tensor, key: Tensor) -> None:
        super().__init__()
        self.query, self.key = query, key


def _stop_at(attention: nn.Module) -> None:
    """Stop all passes from now on within an attention module."""
    queries: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        queries.append(output)

    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _Reached(queries.pop(), output)

    attention.get_submodule("to_q").register_forward_hook(keep)
    attention.get_submodule("to_k").register_forward_hook(stop)


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


def _last_read(network: Any, case: Case) -> str:
    """Find the path of the last attention that is read."""
    layers = case.denoiser_class.choose_layers(
        network.config, case.latent_size, case.settings.motion_extractor
    )
    read = {*layers.cross_attention, *layers.temporal_attention}
    *_, last = (path for path, _ in network.named_modules() if path in read)
    return last


def _fill(network: nn.Module) -> None:
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = nn.Parameter(torch.empty(parameter.shape), requires_grad=False)
            setattr(module, name, weight)
