"""Adapters sit on the right modules, start as peft's gaussian ones, and survive their files."""

import json
import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from motionmatcher.bases.lora import (
    ADAPTER_FILE,
    LoraInfo,
    add_lora,
    load_lora,
    read_lora,
    save_lora,
    target_modules,
)
from motionmatcher.bases.lora_linear import draw_mask
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.errors import UserError
from motionmatcher.tensor_files import read_tensors, write_tensors

RANK = 3


@pytest.fixture(scope="module")
def bare(base_folder: Path) -> MotionUNet:
    """A UNet that no test changes."""
    return MotionUNet.from_pretrained(base_folder, subfolder="unet")


@pytest.fixture
def unet(bare: MotionUNet) -> MotionUNet:
    return deepcopy(bare)


@pytest.fixture(scope="module")
def trained(bare: MotionUNet) -> MotionUNet:
    """A UNet with a LoRA that is not zero; no test changes it."""
    unet = deepcopy(bare)
    add_lora(unet, RANK, ["attention"])
    perturb(unet)
    return unet


def perturb(unet: MotionUNet) -> None:
    generator = torch.Generator().manual_seed(1)
    for weight in unet.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator)


def lora_values(unet: MotionUNet) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in unet.lora_parameters().items()}


def assert_same_values(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def expected_modules(unet: nn.Module, kind: str) -> Iterator[str]:
    """The targets again, by another way: by the words of each path."""
    for name, module in unet.named_modules():
        words = name.split(".")
        spatial = "attentions" in words
        temporal = "temp_attentions" in words or "transformer_in" in words
        inside = "transformer_blocks" in words
        if kind == "attention" and isinstance(module, nn.Linear) and inside:
            wanted = ("attn1", "attn2", "ff") if temporal else ("attn1", "ff")
            if (spatial or temporal) and any(word in words for word in wanted):
                yield name
        if kind == "temporal_conv" and isinstance(module, nn.Conv3d):
            yield name
        if kind == "spatial_conv" and "resnets" in words and words[-1] in ("conv1", "conv2"):
            yield name


@pytest.mark.parametrize("kind", MotionUNet.lora_kinds)
def test_targets_by_an_independent_count(bare: MotionUNet, kind: str) -> None:
    modules = target_modules(bare, [kind])
    assert len(modules) == len(set(modules))
    assert set(modules) == set(expected_modules(bare, kind))


def test_how_many_targets_there_are(bare: MotionUNet) -> None:
    # 7 spatial transformers: 2 in the encoder, 1 in the middle, 4 in the decoder; 8 temporal ones.
    # Each block has 4 Linears an attention and 2 in its feed-forward.
    assert len(target_modules(bare, ["attention"])) == 7 * (4 + 2) + 8 * (4 + 4 + 2)
    # A residual block each before the transformers, and a second one in the middle.
    assert len(target_modules(bare, ["temporal_conv"])) == 8 * 4
    assert len(target_modules(bare, ["spatial_conv"])) == 8 * 2


def test_targets_add_up_in_the_order_given(bare: MotionUNet) -> None:
    kinds = ["temporal_conv", "attention"]
    expected = target_modules(bare, kinds[:1]) + target_modules(bare, kinds[1:])
    assert target_modules(bare, kinds) == expected


@pytest.mark.parametrize("kinds", [["attention"], list(MotionUNet.lora_kinds)])
def test_an_adapter_on_each_target_and_nowhere_else(unet: MotionUNet, kinds: list[str]) -> None:
    wanted = target_modules(unet, kinds)
    add_lora(unet, RANK, kinds)
    layers = [name for name, module in unet.named_modules() if isinstance(module, LoraLayer)]
    assert sorted(layers) == sorted(wanted)
    assert target_modules(unet, kinds) == wanted, "the list must not change with the adapters"
    trainable = {name for name, weight in unet.named_parameters() if weight.requires_grad}
    assert trainable == set(unet.lora_parameters())
    assert len(trainable) == 2 * len(wanted)


def test_a_fresh_adapter(unet: MotionUNet) -> None:
    add_lora(unet, 8, ["attention"])
    firsts, seconds = (
        [w for name, w in unet.lora_parameters().items() if f".lora_{letter}." in name]
        for letter in "AB"
    )
    assert all(weight.shape[0] == 8 for weight in firsts)
    assert not any(weight.any() for weight in seconds)
    values = torch.cat([weight.detach().flatten() for weight in firsts])
    assert len(values) > 10_000
    assert values.std().item() == pytest.approx(1 / 8, rel=0.02)
    assert values.mean().item() == pytest.approx(0, abs=0.005)
    assert all(layer.scaling == {"default": 1.0} for layer in unet.lora_layers())


def test_a_is_drawn_from_the_run_s_own_stream(bare: MotionUNet) -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(1)  # whatever else draws
        before = torch.get_rng_state()
        unet = deepcopy(bare)
        add_lora(unet, RANK, ["spatial_conv"], seed=seed)
        assert torch.equal(torch.get_rng_state(), before), "the global stream must not move"
        drawn.append(lora_values(unet))
    assert_same_values(drawn[0], drawn[1])
    name = next(iter(drawn[0]))
    assert not torch.equal(drawn[0][name], drawn[2][name])


def test_adapters_of_a_half_precision_base_are_fp32(unet: MotionUNet) -> None:
    unet.to(torch.bfloat16)
    add_lora(unet, RANK, ["spatial_conv"])
    assert {weight.dtype for weight in unet.lora_parameters().values()} == {torch.float32}
    assert unet.conv_in.weight.dtype == torch.bfloat16


def test_dropout_is_that_of_the_adapter_s_input(unet: MotionUNet) -> None:
    add_lora(unet, RANK, ["attention"], dropout=0.25)
    perturb(unet)
    unet.train()
    layer = unet.lora_layers()[0]
    assert isinstance(layer.base_layer, nn.Linear)
    dropout = layer.lora_dropout["default"]
    assert dropout.p == 0.25
    values = torch.randn(5, layer.base_layer.in_features)
    torch.manual_seed(0)
    output = layer(values)
    torch.manual_seed(0)
    mask = draw_mask(values, dropout.p) / 0.75
    assert mask.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer(values) + (values * mask) @ a.T @ b.T
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_a_saved_adapter_is_loaded_to_the_bit(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet
) -> None:
    info = LoraInfo(rank=RANK, targets=("attention",), base="b" * 16, reference="r" * 16)
    save_lora(trained, tmp_path / "lora", info)
    assert [path.name for path in (tmp_path / "lora").iterdir()] == [ADAPTER_FILE]
    with safe_open(tmp_path / "lora" / ADAPTER_FILE, "pt") as file:
        described = json.loads(file.metadata()["motionmatcher"])
    assert described == {
        "rank": RANK,
        "targets": ["attention"],
        "base": "b" * 16,
        "reference": "r" * 16,
    }
    loaded = load_lora(unet, tmp_path / "lora")
    assert (loaded.rank, tuple(loaded.targets)) == (RANK, ("attention",))
    assert (loaded.base, loaded.reference) == ("b" * 16, "r" * 16)
    assert_same_values(lora_values(unet), lora_values(trained))


def test_loading_replaces_the_weights_of_an_adapter(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet
) -> None:
    save_lora(trained, tmp_path, LoraInfo(RANK, ("attention",)))
    add_lora(unet, RANK, ["attention"], dropout=0.5)
    parameters = unet.lora_parameters()
    load_lora(unet, tmp_path)
    assert_same_values(lora_values(unet), lora_values(trained))
    assert all(unet.lora_parameters()[name] is weight for name, weight in parameters.items())
    assert unet.lora_layers()[0].lora_dropout["default"].p == 0.5


def published_weights(unet: MotionUNet, trained: MotionUNet) -> list[Tensor]:
    """The list [up, down, up, down, …] of the published format."""
    values = trained.lora_parameters()
    return [
        values[f"{module}.lora_{letter}.default.weight"].detach().clone()
        for module in target_modules(unet, ["attention"])
        for letter in "BA"
    ]


def test_a_published_list_is_read_in_order(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet
) -> None:
    torch.save(published_weights(unet, trained), tmp_path / "400_unet.pt")
    info = load_lora(unet, tmp_path)
    assert info == LoraInfo(rank=RANK, targets=("attention",), base=None, reference=None)
    assert_same_values(lora_values(unet), lora_values(trained))


def test_a_published_list_of_parameters(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet
) -> None:
    weights = [nn.Parameter(weight) for weight in published_weights(unet, trained)]
    torch.save(weights, tmp_path / "400_unet.pt")
    load_lora(unet, tmp_path)
    assert_same_values(lora_values(unet), lora_values(trained))


def test_the_published_file_of_the_most_steps_is_read(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet
) -> None:
    weights = published_weights(unet, trained)
    torch.save(weights, tmp_path / "1000_unet.pt")
    torch.save([torch.zeros_like(weight) for weight in weights], tmp_path / "400_unet.pt")
    load_lora(unet, tmp_path)
    assert_same_values(lora_values(unet), lora_values(trained))


@pytest.mark.parametrize("change", ["shorter", "dictionary"])
def test_a_file_that_is_no_published_lora(
    tmp_path: Path, trained: MotionUNet, bare: MotionUNet, change: str
) -> None:
    weights = published_weights(bare, trained)
    torch.save(weights[2:] if change == "shorter" else {"w": weights[0]}, tmp_path / "9_unet.pt")
    message = (
        rf"9_unet\.pt is not a published LoRA of this base: expected a list of {len(weights)} "
    )
    with pytest.raises(UserError, match=message):
        read_lora(tmp_path, bare)


class Malicious:
    """What runs code when it is unpickled carelessly."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_a_pickle_is_never_executed(tmp_path: Path, bare: MotionUNet) -> None:
    target = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(target)))
    assert target.exists(), "this pickle does execute"
    target.unlink()
    torch.save([Malicious(target)], tmp_path / "9_unet.pt")
    with pytest.raises(
        UserError, match=r"9_unet\.pt is damaged or holds more than tensors, and is not"
    ):
        read_lora(tmp_path, bare)
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle at all"])
def test_a_damaged_published_file(tmp_path: Path, bare: MotionUNet, content: bytes) -> None:
    (tmp_path / "9_unet.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"9_unet\.pt is damaged or holds more than tensors"):
        read_lora(tmp_path, bare)


def test_a_damaged_adapter(tmp_path: Path, trained: MotionUNet, bare: MotionUNet) -> None:
    save_lora(trained, tmp_path, LoraInfo(RANK, ("attention",)))
    file = tmp_path / ADAPTER_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{ADAPTER_FILE} is damaged: .*Delete it, or use another"):
        read_lora(tmp_path, bare)


def test_a_folder_without_a_lora(tmp_path: Path, bare: MotionUNet) -> None:
    message = f"has no LoRA: expected {ADAPTER_FILE} or a published N_unet.pt"
    with pytest.raises(UserError, match=message):
        read_lora(tmp_path, bare)


def test_an_adapter_of_another_program(tmp_path: Path, bare: MotionUNet) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / ADAPTER_FILE)
    with pytest.raises(UserError, match="was not written by this toolkit: it does not say what"):
        read_lora(tmp_path, bare)


def test_an_adapter_whose_description_is_nested(tmp_path: Path, bare: MotionUNet) -> None:
    metadata = {"motionmatcher": 50_000 * "["}
    save_file({"a": torch.zeros(1)}, tmp_path / ADAPTER_FILE, metadata)
    with pytest.raises(UserError, match=f"description in .*{ADAPTER_FILE} is nested deeper than"):
        read_lora(tmp_path, bare)


def rewrite(file: Path, **changes: Any) -> None:
    """Change entries of an adapter file's description, or its tensors."""
    tensors, description = read_tensors(file)
    tensors = changes.pop("tensors", lambda found: found)(tensors)
    write_tensors(file, tensors, {**description, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": "3"},
        {"rank": None},
        {"rank": True},
        {"rank": 3.0},
        {"rank": [3]},
        {"targets": "attention"},
        {"targets": []},
        {"targets": None},
        {"targets": [["attention"]]},
        {"targets": ["attention", "attention"]},
        {"targets": ["everything"]},
        {"base": 7},
        {"reference": {"a": 1}},
        {"alpha": 3},
    ],
    ids=str,
)
def test_a_description_that_is_not_a_lora_s(
    tmp_path: Path, trained: MotionUNet, bare: MotionUNet, changes: dict[str, Any]
) -> None:
    save_lora(trained, tmp_path, LoraInfo(RANK, ("attention",)))
    rewrite(tmp_path / ADAPTER_FILE, **changes)
    message = rf"{ADAPTER_FILE}: its description .* is not that of a LoRA: expected rank \(a number"
    with pytest.raises(UserError, match=message) as error:
        read_lora(tmp_path, bare)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("3", "is damaged: its description is not a JSON object"),
        ("[1]", "is damaged: its description is not a JSON object"),
        ("null", "is damaged: its description is not a JSON object"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_description_that_is_no_json_object(
    tmp_path: Path, bare: MotionUNet, described: str, message: str
) -> None:
    file = tmp_path / ADAPTER_FILE
    save_file({"a": torch.zeros(1)}, file, metadata={"motionmatcher": described})
    with pytest.raises(UserError, match=message):
        read_lora(tmp_path, bare)


def with_first(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], dict]:
    def changed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(iter(tensors))
        return {**tensors, name: change(tensors[name])}

    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensors": with_first(Tensor.int)}, "holds int32 values, not floating-point ones"),
        ({"tensors": with_first(Tensor.bool)}, "holds bool values, not floating-point ones"),
        ({"tensors": with_first(lambda w: w * torch.nan)}, "holds NaN or infinity"),
        ({"tensors": with_first(lambda w: w + torch.inf)}, "holds NaN or infinity"),
        ({"tensors": with_first(lambda w: w[:, :0])}, "is empty: it has the shape"),
        ({"tensors": lambda found: {}}, f"says that its rank is {RANK}, which its tensors are not"),
        ({"rank": 10**9}, "says that its rank is 1000000000, which its tensors are not of"),
    ],
)
def test_weights_that_cannot_be_a_lora_s(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet, changes: dict[str, Any], message: str
) -> None:
    save_lora(trained, tmp_path, LoraInfo(RANK, ("attention",)))
    rewrite(tmp_path / ADAPTER_FILE, **changes)
    with pytest.raises(UserError, match=message):
        load_lora(unet, tmp_path)
    assert not unet.lora_layers(), "nothing is made of a file that cannot be right"


def test_only_digits_number_a_published_file(tmp_path: Path, bare: MotionUNet) -> None:
    for name in ("²_unet.pt", "٣_unet.pt", "-1_unet.pt", "x_unet.pt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"has no LoRA: expected .* or a published N_unet\.pt"):
        read_lora(tmp_path, bare)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Tensor.int, "holds int32 values"),
        (lambda weight: weight * torch.nan, "holds NaN or infinity"),
        (lambda weight: weight.sum(), r"has the shape \[\], not that of a matrix"),
    ],
)
def test_a_published_list_of_what_cannot_be_weights(
    tmp_path: Path,
    trained: MotionUNet,
    bare: MotionUNet,
    change: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    weights = published_weights(bare, trained)
    torch.save([*weights[:-1], change(weights[-1])], tmp_path / "9_unet.pt")
    with pytest.raises(UserError, match=rf"9_unet\.pt: .*lora_A\.weight .*{message}"):
        read_lora(tmp_path, bare)


@pytest.mark.parametrize(("rank", "targets"), [(RANK + 1, ["attention"]), (RANK, ["spatial_conv"])])
def test_an_adapter_that_does_not_fit(
    tmp_path: Path, trained: MotionUNet, unet: MotionUNet, rank: int, targets: list[str]
) -> None:
    save_lora(trained, tmp_path, LoraInfo(RANK, ("attention",)))
    add_lora(unet, rank, targets)
    before = lora_values(unet)
    message = rf"the LoRA \(rank {RANK}, attention\) does not fit this base and these settings"
    with pytest.raises(UserError, match=message):
        load_lora(unet, tmp_path)
    assert_same_values(lora_values(unet), before)


def test_an_adapter_of_another_base(tmp_path: Path, trained: MotionUNet) -> None:
    save_lora(trained, tmp_path, LoraInfo(RANK, ("attention",)))
    with torch.device("meta"):
        wider = MotionUNet(
            block_out_channels=(64, 64),
            down_block_types=("CrossAttnDownBlock3D",) * 2,
            up_block_types=("CrossAttnUpBlock3D",) * 2,
            layers_per_block=1,
            attention_head_dim=8,
            cross_attention_dim=32,
        )
        with pytest.raises(
            UserError, match="does not fit this base and these settings: use the base"
        ):
            load_lora(wider, tmp_path)
