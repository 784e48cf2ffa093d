"""One set of weights plays student and frozen base, and a recomputation repeats its forward."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch._dynamo
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from motionmatcher.bases.denoiser import PassMode
from motionmatcher.bases.lora import add_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.features.recording import AttentionRecorder

RANK = 2
CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = "down_blocks.1.temp_attentions.0.transformer_blocks.0.attn1"
Inputs = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def plain(base_folder: Path) -> UNet3DConditionModel:
    return UNet3DConditionModel.from_pretrained(base_folder, subfolder="unet").eval()


@pytest.fixture(scope="module")
def bare(base_folder: Path) -> MotionUNet:
    """Without a LoRA; no test changes it."""
    return MotionUNet.from_pretrained(base_folder, subfolder="unet").eval()


def with_lora(bare: MotionUNet, dropout: float = 0.0, strength: float = 0.3) -> MotionUNet:
    """A copy with a LoRA that has an effect: B is not zero."""
    unet = deepcopy(bare)
    add_lora(unet, RANK, ["attention"], dropout)
    generator = torch.Generator().manual_seed(1)
    for name, weight in unet.lora_parameters().items():
        if ".lora_B." in name:
            weight.data = torch.randn(weight.shape, generator=generator) * strength
    return unet


@pytest.fixture(scope="module")
def student(bare: MotionUNet) -> MotionUNet:
    """With a LoRA and its dropout; tests leave it as they find it."""
    return with_lora(bare, dropout=0.3)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Two videos of three frames, not square, at timesteps of their own."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 3, 4, 6, generator=generator)
    return sample, torch.tensor([700, 3]), torch.randn(2, 7, 32, generator=generator)


def exactly(inputs: Inputs) -> Inputs:
    sample, timesteps, text_states = inputs
    return sample.double(), timesteps, text_states.double()


@pytest.fixture(scope="module")
def plain_output(plain: UNet3DConditionModel, inputs: Inputs) -> Tensor:
    with torch.no_grad():
        return plain(*inputs).sample


def dropouts(unet: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The base's dropouts, and the LoRA's."""
    found: tuple[list[nn.Module], list[nn.Module]] = ([], [])
    for name, module in unet.named_modules():
        if isinstance(module, nn.Dropout):
            found["lora_dropout" in name].append(module)
    return found


def state_of(unet: MotionUNet) -> tuple:
    processors = [m.processor for m in unet.modules() if isinstance(m, Attention)]
    layers = unet.lora_layers()
    return (
        processors,
        [layer.disable_adapters for layer in layers],
        [layer.get_base_layer().weight.data_ptr() for layer in layers],
        [module.training for module in unet.modules()],
        unet._mode,
    )


# --- the base


@torch.no_grad()
def test_without_a_lora_it_is_the_plain_unet(
    bare: MotionUNet, inputs: Inputs, plain_output: Tensor
) -> None:
    assert torch.equal(bare(*inputs).sample, plain_output)
    assert bare.lora_layers() == []
    assert bare.lora_parameters() == {}


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_with_the_lora_off_it_is_the_plain_unet(
    student: MotionUNet, inputs: Inputs, plain_output: Tensor, training: bool
) -> None:
    student.train(training)
    with student.in_mode(PassMode(lora=False)):
        assert torch.equal(student(*inputs).sample, plain_output)
    student.eval()
    assert not torch.allclose(student(*inputs).sample, plain_output, atol=0.1)


@torch.no_grad()
def test_checkpointing_leaves_the_base_s_output(
    bare: MotionUNet, inputs: Inputs, plain_output: Tensor
) -> None:
    unet = with_lora(bare)
    unet.enable_gradient_checkpointing()
    with unet.in_mode(PassMode(lora=False)):
        assert torch.equal(unet(*inputs).sample, plain_output)
        with torch.enable_grad():
            assert torch.equal(unet(*inputs).sample, plain_output)


@torch.no_grad()
def test_with_the_lora_on_it_is_a_plain_unet_of_merged_weights(
    plain: UNet3DConditionModel, student: MotionUNet, inputs: Inputs
) -> None:
    # In fp64, for this network amplifies rounding a thousand times.
    merged, unet = deepcopy(plain).double(), deepcopy(student).double()
    values = unet.lora_parameters()
    for name in {name.split(".lora_")[0] for name in values}:
        down, up = (values[f"{name}.lora_{letter}.default.weight"] for letter in "AB")
        merged.get_submodule(name).weight += up @ down
    expected = merged(*exactly(inputs)).sample
    torch.testing.assert_close(unet(*exactly(inputs)).sample, expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_videos_of_a_batch_do_not_touch_each_other(student: MotionUNet, inputs: Inputs) -> None:
    unet = deepcopy(student).double()
    both = unet(*exactly(inputs)).sample
    for index in range(2):
        alone = unet(*(part[index : index + 1] for part in exactly(inputs))).sample
        torch.testing.assert_close(both[index : index + 1], alone, rtol=0, atol=1e-9)


# --- dropout


@torch.no_grad()
def test_the_base_s_own_dropout_is_never_live(
    plain: UNet3DConditionModel, bare: MotionUNet, inputs: Inputs, plain_output: Tensor
) -> None:
    awake = deepcopy(plain).train()
    assert not torch.allclose(awake(*inputs).sample, plain_output), "the plain class has dropout"
    unet = deepcopy(bare).train()
    assert unet.training
    assert not any(module.training for module in unet.modules() if module is not unet)
    assert torch.equal(unet(*inputs).sample, plain_output)


def test_train_wakes_the_lora_s_dropout_alone(student: MotionUNet) -> None:
    base, lora = dropouts(student)
    assert base
    assert len(lora) == len(student.lora_layers())
    student.train()
    assert not any(module.training for module in base)
    assert all(module.training for module in lora)
    student.eval()
    assert not any(module.training for module in base + lora)


def test_a_fresh_lora_takes_the_unet_s_mode(bare: MotionUNet) -> None:
    for training in (True, False):
        unet = deepcopy(bare).train(training)
        add_lora(unet, RANK, ["spatial_conv"], dropout=0.5)
        base, lora = dropouts(unet)
        assert lora
        assert {module.training for module in lora} == {training}
        assert not any(module.training for module in base)


@torch.no_grad()
def test_the_lora_s_dropout_acts_in_training_only(student: MotionUNet, inputs: Inputs) -> None:
    calm = student(*inputs).sample
    assert torch.equal(student(*inputs).sample, calm)
    student.train()
    try:
        shaken = student(*inputs).sample
        assert not torch.allclose(shaken, calm)
        student.eval()
        assert torch.equal(student(*inputs).sample, calm)
    finally:
        student.eval()


# --- modes


@pytest.mark.parametrize(
    "enter",
    [
        lambda unet: unet.in_mode(
            PassMode(lora=False, recorder=AttentionRecorder([CROSS]), full_precision=True)
        ),
        lambda unet: unet.lora_at(0.5),
    ],
    ids=["in_mode", "lora_at"],
)
@pytest.mark.parametrize("failing", [False, True])
def test_what_a_block_changed_comes_back(
    student: MotionUNet, enter: Callable, failing: bool
) -> None:
    student.train()
    try:
        found = state_of(student)
        reaction = pytest.raises(RuntimeError, match="half way") if failing else nullcontext()
        with reaction, enter(student):
            within = state_of(student)
            if failing:
                raise RuntimeError("half way")
        assert within != found
        assert state_of(student) == found
        half = torch.ones(2, dtype=torch.bfloat16)
        weight = torch.ones(3, 2, dtype=torch.bfloat16)
        assert nn.functional.linear(half, weight).dtype == torch.bfloat16
    finally:
        student.eval()


@torch.no_grad()
def test_modes_nest(student: MotionUNet, inputs: Inputs, plain_output: Tensor) -> None:
    on = student(*inputs).sample
    with student.in_mode(PassMode(lora=False)):
        with student.in_mode(PassMode(lora=True)):
            assert torch.equal(student(*inputs).sample, on)
        assert torch.equal(student(*inputs).sample, plain_output)
    assert torch.equal(student(*inputs).sample, on)


@torch.no_grad()
def test_adapters_that_someone_disabled_stay_so(student: MotionUNet) -> None:
    first = student.lora_layers()[0]
    first.enable_adapters(False)
    try:
        with student.in_mode(PassMode(lora=False)):
            assert all(layer.disable_adapters for layer in student.lora_layers())
        assert first.disable_adapters
        assert not any(layer.disable_adapters for layer in student.lora_layers()[1:])
    finally:
        first.enable_adapters(True)


def test_an_adapter_that_comes_later_is_found(bare: MotionUNet) -> None:
    network = deepcopy(bare)
    assert network.lora_layers() == []
    add_lora(network, rank=2, targets=["attention"])
    found = network.lora_layers()
    assert found == [layer for layer in network.modules() if isinstance(layer, LoraLayer)]
    assert len(found) > 0


@torch.no_grad()
def test_lora_scale_by_hand(student: MotionUNet) -> None:
    layer = next(
        layer for layer in student.lora_layers() if isinstance(layer.base_layer, nn.Linear)
    )
    values = torch.randn(5, layer.base_layer.in_features)
    base = layer.base_layer(values)
    share = values @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    for scale in (0.0, 0.5, 2.0):
        with student.lora_at(scale):
            torch.testing.assert_close(layer(values), base + scale * share, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(values), base + share, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_scale_zero_is_the_base(student: MotionUNet, inputs: Inputs, plain_output: Tensor) -> None:
    with student.lora_at(0):
        assert torch.equal(student(*inputs).sample, plain_output)


@torch.no_grad()
def test_merged_is_unmerged_within_rounding(student: MotionUNet, inputs: Inputs) -> None:
    exact = copy.deepcopy(student).double()
    sample, timesteps, states = inputs
    inputs = sample.double(), timesteps, states.double()
    unmerged = exact(*inputs).sample
    weights = {name: weight.clone() for name, weight in exact.named_parameters()}
    with exact.lora_at():
        merged = exact(*inputs).sample
    assert not torch.equal(merged, unmerged), "another path of computation"
    torch.testing.assert_close(merged, unmerged, rtol=1e-9, atol=1e-9)
    for name, weight in exact.named_parameters():
        assert torch.equal(weight, weights[name]), name


# --- gradient checkpointing


def student_gradients(unet: MotionUNet, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    unet.zero_grad()
    torch.manual_seed(5)
    loss = unet(*inputs).sample.square().mean()
    loss.backward()
    gradients = {name: weight.grad for name, weight in unet.lora_parameters().items()}
    assert all(gradient is not None for gradient in gradients.values())
    return loss.detach(), {name: g.clone() for name, g in gradients.items() if g is not None}


def assert_equal_gradients(again: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    assert again.keys() == plain.keys()
    assert all(gradient.any() for gradient in plain.values())
    for name, gradient in plain.items():
        error = (again[name] - gradient).norm() / gradient.norm()
        assert error <= 1e-6, name


@pytest.mark.parametrize("recomputed", ["selective", "full"])
def test_recomputing_leaves_the_student_s_gradients(
    bare: MotionUNet, inputs: Inputs, recomputed: str
) -> None:
    unet = with_lora(bare, dropout=0.3).train()
    loss, gradients = student_gradients(unet, inputs)
    unet.recompute_in_backward(recomputed)
    again, gradients_again = student_gradients(unet, inputs)
    assert torch.equal(again, loss)
    assert_equal_gradients(gradients_again, gradients)


def test_checkpointing_really_computes_again(bare: MotionUNet, inputs: Inputs) -> None:
    unet = with_lora(bare)
    blocks = [module for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    calls: list[nn.Module] = []
    for block in blocks:
        block.conv1.register_forward_hook(lambda module, args, out: calls.append(module))
    student_gradients(unet, inputs)
    assert len(calls) == len(blocks)
    calls.clear()
    unet.recompute_in_backward("selective")
    unet.enable_gradient_checkpointing()
    unet.enable_gradient_checkpointing()  # a second call changes nothing
    student_gradients(unet, inputs)
    # The first block comes before every LoRA but transformer_in's, so all blocks are repeated.
    assert len(calls) == 2 * len(blocks)
    calls.clear()
    with torch.no_grad():
        unet(*inputs)
    assert len(calls) == len(blocks)


def feature_gradients(unet: MotionUNet, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of a student whose output the frozen base reads: LoRA on, then off."""
    unet.zero_grad()
    torch.manual_seed(5)
    sample, timesteps, text_states = inputs
    prediction = unet(*inputs).sample
    recorder = AttentionRecorder([CROSS, TEMPORAL])
    with unet.in_mode(PassMode(lora=False, recorder=recorder)):
        unet.run_blocks(sample + prediction, timesteps, text_states, last_block=1)
    maps = dict(recorder.maps)
    loss = sum((probabilities.square().mean() for probabilities in maps.values()), torch.zeros(()))
    loss.backward()
    assert all(recorder.maps[name] is maps[name] for name in maps), "recomputing changed the maps"
    values = {name: weight.grad for name, weight in unet.lora_parameters().items()}
    return loss.detach(), {name: g.clone() for name, g in values.items() if g is not None}


@pytest.mark.parametrize("recomputed", ["selective", "full"])
@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_what_is_computed_again_for_the_base_has_the_lora_off(
    bare: MotionUNet, inputs: Inputs, strength: float, recomputed: str
) -> None:
    unet = with_lora(bare, dropout=0.3, strength=strength).train()
    loss, gradients = feature_gradients(unet, inputs)
    unet.recompute_in_backward(recomputed)
    again, gradients_again = feature_gradients(unet, inputs)
    assert torch.equal(again, loss)
    assert_equal_gradients(gradients_again, gradients)
    assert not any(layer.disable_adapters for layer in unet.lora_layers())


# --- full precision


def record(unet: MotionUNet, run: Callable[[], object], names: list[str]) -> dict[str, Tensor]:
    recorder = AttentionRecorder(names)
    with torch.no_grad(), unet.in_mode(PassMode(lora=False, recorder=recorder)):
        run()
    return recorder.maps


def test_full_precision_upcasts_half_precision_weights(bare: MotionUNet, inputs: Inputs) -> None:
    half = with_lora(bare).to(torch.bfloat16)
    seen: set[torch.dtype] = set()
    for module in half.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm)):
            module.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    upcast = deepcopy(half).float()
    names = [CROSS, TEMPORAL]
    expected = record(upcast, lambda: upcast.run_blocks(*inputs, 1), names)
    seen.clear()

    recorder = AttentionRecorder(names)
    mode = PassMode(lora=False, recorder=recorder, full_precision=True)
    with torch.no_grad(), half.in_mode(mode):
        half.run_blocks(*inputs, 1)
    assert seen == {torch.float32}
    for name in names:
        assert recorder.maps[name].dtype == torch.float32
        torch.testing.assert_close(recorder.maps[name], expected[name], rtol=0, atol=1e-6)
    assert half.conv_in.weight.dtype == torch.bfloat16

    seen.clear()
    sample, timesteps, text_states = inputs
    with torch.no_grad():
        half.run_blocks(sample.bfloat16(), timesteps, text_states.bfloat16(), 1)
    assert seen == {torch.bfloat16}


def test_full_precision_holds_in_what_is_computed_again(bare: MotionUNet, inputs: Inputs) -> None:
    half = deepcopy(bare).to(torch.bfloat16)
    half.requires_grad_(False)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            half.enable_gradient_checkpointing()
        sample = inputs[0].clone().requires_grad_()
        recorder = AttentionRecorder([CROSS, TEMPORAL])
        mode = PassMode(lora=False, recorder=recorder, full_precision=True)
        with half.in_mode(mode):
            half.run_blocks(sample, *inputs[1:], 1)
        torch.stack([maps.square().sum() for maps in recorder.maps.values()]).sum().backward()
        assert sample.grad is not None
        gradients.append(sample.grad)
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-9)


@pytest.fixture(scope="module")
def one_level() -> MotionUNet:
    """The smallest network with all kinds of layers: tracing takes seconds a layer."""
    torch.manual_seed(0)
    unet = MotionUNet(
        block_out_channels=(32,),
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("CrossAttnUpBlock3D",),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=32,
    )
    for weight in unet.parameters():  # the class starts many at zero, which hides them
        weight.data = torch.randn(weight.shape) * 0.1
    return with_lora(unet.eval().requires_grad_(False))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # while torch traces
def test_compiled_layers_compute_the_same(one_level: MotionUNet, inputs: Inputs) -> None:
    sample, timesteps, text_states = inputs
    frozen = PassMode(lora=False, recorder=AttentionRecorder([CROSS]))

    def results(unet: MotionUNet) -> dict[str, Tensor]:
        parameters = unet.lora_parameters().values()
        for parameter in parameters:
            parameter.requires_grad_(True)
        prediction = unet(sample, timesteps, text_states).sample
        with unet.in_mode(frozen):
            unet.run_blocks(prediction, timesteps, text_states, last_block=0)
        assert frozen.recorder is not None
        maps = frozen.recorder.maps[CROSS]
        gradients = torch.autograd.grad(maps.square().sum(), list(parameters))
        with torch.no_grad(), unet.lora_at(0.5):
            sampled = unet(sample, timesteps, text_states).sample
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        return {"prediction": prediction, "maps": maps, "gradients": flat, "sampled": sampled}

    expected = results(one_level)
    compiled = deepcopy(one_level)
    compiled.enable_gradient_checkpointing()  # whichever comes first, checkpoints lie outside
    compiled.compile_layers(backend="aot_eager")
    torch._dynamo.utils.counters.clear()
    found = results(compiled)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 5
    assert not torch._dynamo.utils.counters["graph_break"]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
    torch._dynamo.reset()
