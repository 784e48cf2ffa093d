"""The joined LoRA against peft's own forward and against the formula."""

from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from motionmatcher.bases.lora_linear import (
    _LoraLinear,
    draw_mask,
    join_lora,
    kept_share,
    separate_lora,
)


def lora_model(dropout: float = 0.0, alpha: int = 6) -> Any:
    """A Linear of 5 inputs and 4 outputs with a LoRA of rank 3 and scale alpha / 3, in a Sequential."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=3, lora_alpha=alpha, target_modules=["0"], lora_dropout=dropout, init_lora_weights=False
    )
    model = peft.inject_adapter_in_model(config, nn.Sequential(nn.Linear(5, 4)).double())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return model.double()


def results(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of the LoRA's weights."""
    x = x.clone().requires_grad_()
    output = model(x)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [output, *torch.autograd.grad(output.sin().sum(), [x, *trained])]


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
def test_joined_equals_pefts_forward(shape: tuple[int, ...]) -> None:
    model = lora_model()
    x = torch.randn(shape, dtype=torch.float64)
    separate = results(model, x)
    join_lora(model)
    joined = results(model, x)
    assert joined[0].shape == (*shape[:-1], 4)
    for one, other in zip(joined, separate, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(separate[0], model[0].base_layer(x))  # the LoRA does something


def test_dropout_acts_on_the_loras_input_alone() -> None:
    model = lora_model(dropout=0.25)
    join_lora(model)
    layer, x = model[0], torch.randn(50, 5, dtype=torch.float64)
    torch.manual_seed(3)
    output = model(x)
    torch.manual_seed(3)
    mask = draw_mask(x, 0.25)
    assert 0 < mask.sum() < mask.numel()
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer(x) + 2 * (mask * x / 0.75) @ a.T @ b.T
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    model.eval()
    torch.testing.assert_close(model(x), layer.base_layer(x) + 2 * x @ a.T @ b.T)


def test_gradients_with_dropout_are_those_of_the_output() -> None:
    torch.manual_seed(1)
    x, a, b = (
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in [(2, 3, 5), (3, 5), (4, 3)]
    )
    weight, bias = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def with_the_same_mask(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        torch.manual_seed(2)
        output: Tensor = _LoraLinear.apply(x, weight, bias, a, b, 1.5, 0.3)
        return output

    assert torch.autograd.gradcheck(with_the_same_mask, (x, a, b))


def test_mask_keeps_the_share_it_says() -> None:
    share = kept_share(0.1)
    assert share == 58982 / 65536  # 0.9 to the next 1 / 65536
    torch.manual_seed(0)
    mask = draw_mask(torch.empty(1001, 999), 0.1)  # not a multiple of four
    assert mask.shape == (1001, 999)
    assert mask.float().mean().item() == pytest.approx(share, abs=1e-3)  # 3 standard deviations
    assert mask.float().mean(dim=1).std().item() == pytest.approx((0.09 / 999) ** 0.5, rel=0.1)


def test_dropout_too_small_to_draw_drops_nothing() -> None:
    model, x = lora_model(dropout=1e-6), torch.randn(6, 5, dtype=torch.float64)
    join_lora(model)
    assert torch.equal(model(x), model.eval()(x))
    assert not torch.allclose(model(x), model[0].base_layer(x))


def test_dropout_compiles_into_one_graph() -> None:
    model = lora_model(dropout=0.25)
    join_lora(model)
    layer, x = model[0], torch.randn(50, 5, dtype=torch.float64)
    torch.manual_seed(3)
    output = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    torch.manual_seed(3)
    mask = torch.empty(x.shape, dtype=torch.bool).bernoulli_(0.75)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer(x) + 2 * (mask * x / 0.75) @ a.T @ b.T
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    torch._dynamo.reset()


def test_half_precision_under_autocast_keeps_fp32_gradients_of_the_lora() -> None:
    model = lora_model().float()
    x = torch.randn(64, 5)
    exact = results(model, x)
    join_lora(model)
    model[0].base_layer.half()
    with torch.autocast("cpu", torch.float16):
        output, x_gradient, *lora_gradients = results(model, x)
    assert output.dtype == torch.float16
    assert x_gradient.dtype == torch.float32
    assert {gradient.dtype for gradient in lora_gradients} == {torch.float32}
    for half, full in zip([output, x_gradient, *lora_gradients], exact, strict=True):
        torch.testing.assert_close(half.float(), full, rtol=2e-2, atol=2e-2)


def test_only_input_and_mask_are_kept_of_the_inputs_size() -> None:
    model = lora_model(dropout=0.5).float()
    join_lora(model)
    x = torch.randn(1000, 5, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(x)
    large = [tensor for tensor in kept if tensor.numel() == x.numel()]
    assert sorted(str(tensor.dtype) for tensor in large) == ["torch.bool", "torch.float32"]
    assert any(tensor.data_ptr() == x.data_ptr() for tensor in large)


def test_disabled_merged_and_separate_go_pefts_way() -> None:
    model = lora_model(dropout=0.5)
    join_lora(model)
    layer, x = model[0], torch.randn(6, 5, dtype=torch.float64)
    model.eval()
    joined = model(x)
    layer.enable_adapters(False)
    assert torch.equal(model(x), layer.base_layer(x))
    layer.enable_adapters(True)
    layer.merge()
    torch.testing.assert_close(model(x), joined)
    layer.enable_adapters(False)
    torch.testing.assert_close(model(x), layer.base_layer(x))
    assert not layer.merged
    layer.enable_adapters(True)
    model.train()
    with separate_lora(model):
        torch.manual_seed(0)
        separate = model(x)
    torch.manual_seed(0)
    dropped = nn.functional.dropout(x, 0.5)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.testing.assert_close(separate, layer.base_layer(x) + 2 * dropped @ a.T @ b.T)
    assert "forward" in vars(layer)  # joined again
