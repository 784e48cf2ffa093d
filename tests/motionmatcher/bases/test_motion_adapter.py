"""A motion adapter and a Stable Diffusion are together the base that an AnimateDiff folder holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.hub import choose_weights
from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.errors import UserError

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


def find_joined(folders: tuple[Path, Path]) -> BaseLayout:
    stable_diffusion, adapter = folders
    return find_base(str(stable_diffusion), motion_adapter=str(adapter))


def load(layout: BaseLayout) -> BaseModel:
    return load_base_model(layout, CPU)


def test_both_are_what_one_folder_holds(
    stable_diffusion_folders: tuple[Path, Path], animatediff_folder: Path
) -> None:
    layout, whole = find_joined(stable_diffusion_folders), find_base(str(animatediff_folder))
    assert layout.denoiser.part_class is whole.denoiser.part_class
    found, wanted = layout.read_schedule(), whole.read_schedule()
    assert isinstance(found, NoiseSchedule)
    assert isinstance(wanted, NoiseSchedule)
    assert torch.equal(found.alphas_cumprod, wanted.alphas_cumprod)
    assert found.sampling_steps(5) == wanted.sampling_steps(5)
    joined, expected = (load(each).denoiser for each in (layout, whole))
    states, expected_states = joined.state_dict(), expected.state_dict()
    assert states.keys() == expected_states.keys()
    assert all(torch.equal(states[name], state) for name, state in expected_states.items())
    assert not any(weight.requires_grad for weight in joined.parameters())
    configs = [
        {key: value for key, value in denoiser.config.items() if not key.startswith("_")}
        for denoiser in (joined, expected)
    ]
    assert configs[0] == configs[1]


def test_they_are_joined_as_diffusers_joins_them(
    stable_diffusion_folders: tuple[Path, Path],
) -> None:
    stable_diffusion, adapter = stable_diffusion_folders
    expected = UNetMotionModel.from_unet2d(
        UNet2DConditionModel.from_pretrained(stable_diffusion, subfolder="unet"),
        MotionAdapter.from_pretrained(adapter),
    )
    joined = load(find_joined(stable_diffusion_folders)).denoiser
    states = joined.state_dict()
    assert states.keys() == expected.state_dict().keys()
    for name, state in expected.state_dict().items():
        assert torch.equal(states[name], state), name
    assert joined.config.down_block_types == expected.config.down_block_types
    assert joined.config.num_attention_heads == expected.config.num_attention_heads


def test_half_precision(stable_diffusion_folders: tuple[Path, Path]) -> None:
    denoiser = load_base_model(find_joined(stable_diffusion_folders), CPU, torch.bfloat16).denoiser
    assert {state.dtype for state in denoiser.state_dict().values()} == {torch.bfloat16}


def test_the_fingerprint_covers_the_adapter(
    stable_diffusion_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    stable_diffusion, adapter = stable_diffusion_folders
    before = find_joined(stable_diffusion_folders).fingerprint()
    moved = shutil.copytree(adapter, tmp_path / "moved")
    assert find_joined((stable_diffusion, moved)).fingerprint() == before
    with (moved / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert find_joined((stable_diffusion, moved)).fingerprint() != before
    shutil.copy2(adapter / WEIGHTS, moved / WEIGHTS)
    assert find_joined((stable_diffusion, moved)).fingerprint() == before
    config = moved / "config.json"
    config.write_text(config.read_text() + "\n")
    assert find_joined((stable_diffusion, moved)).fingerprint() != before


# --- bad input


def test_stable_diffusion_alone(stable_diffusion_folders: tuple[Path, Path]) -> None:
    folder, _ = stable_diffusion_folders
    message = (
        rf"^{folder}/unet/config.json is of Stable Diffusion, which makes single frames: set "
        r"motion_adapter_path \(--motion_adapter of inference\.py\) to a motion adapter"
    )
    with pytest.raises(UserError, match=message):
        find_base(str(folder))


@pytest.mark.parametrize("kind", ["base_folder", "animatediff_folder"])
def test_an_adapter_for_a_base_that_needs_none(
    kind: str, stable_diffusion_folders: tuple[Path, Path], request: pytest.FixtureRequest
) -> None:
    folder, (_, adapter) = request.getfixturevalue(kind), stable_diffusion_folders
    message = (
        rf"^motion_adapter_path {adapter} goes with Stable Diffusion only \(_class_name "
        rf"UNet2DConditionModel\), and {folder}/unet/config\.json is of another base: leave it out\.$"
    )
    with pytest.raises(UserError, match=message):
        find_base(str(folder), motion_adapter=str(adapter))


def test_an_adapter_that_is_not_there(stable_diffusion_folders: tuple[Path, Path]) -> None:
    folder, _ = stable_diffusion_folders
    message = r"^/nowhere: there is no such motion adapter folder\. .* such as guoyww/animatediff"
    with pytest.raises(UserError, match=message):
        find_base(str(folder), motion_adapter="/nowhere")


@pytest.fixture
def changed(
    stable_diffusion_folders: tuple[Path, Path], tmp_path: Path
) -> Callable[..., tuple[Path, Path]]:
    """Copy the configs, with some keys of the UNet's or of the adapter's changed."""

    def make(changes_unet: bool, values: dict[str, Any]) -> tuple[Path, Path]:
        ignore = shutil.ignore_patterns("*.safetensors")
        folders = tuple(
            shutil.copytree(folder, tmp_path / name, ignore=ignore)
            for folder, name in zip(stable_diffusion_folders, ("sd", "adapter"), strict=True)
        )
        file = folders[0] / "unet/config.json" if changes_unet else folders[1] / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
        return folders[0], folders[1]

    return make


@pytest.mark.parametrize(
    ("changes_unet", "values", "message"),
    [
        (False, {"_class_name": "UNetMotionModel"}, "_class_name must be of MotionAdapter, not"),
        (False, {"block_out_channels": [32, 96]}, "must be the UNet's block_out_channels .32, 64. "),
        (False, {"motion_layers_per_block": 2}, "2 must be the UNet's layers_per_block 1 "),
        (False, {"motion_norm_num_groups": 16}, "16 must be the UNet's norm_num_groups 32 "),
        (False, {"motion_num_attention_heads": 7}, "motion_num_attention_heads must divide each of"),
        (False, {"conv_in_channels": 9}, "conv_in_channels must be null, not 9"),
        (False, {"motion_max_seq_length": "x"}, "motion_max_seq_length must be a whole number"),
        (True, {"mid_block_type": None}, "mid_block_type must be 'UNetMidBlock2DCrossAttn', not null"),
        (True, {"attention_head_dim": [4, 4]}, "attention_head_dim must be a whole number, not"),
        (True, {"down_block_types": [3, 4]}, "down_block_types must be of DownBlock2D, .*, not 3"),
        (True, {"addition_embed_type": "text_time"}, "addition_embed_type must be null, not"),
        (True, {"cross_attention_dim": 64}, "64 must be the text encoder's hidden_size 32 "),
    ],
)  # fmt: skip
def test_what_cannot_be_joined(
    changed: Callable[..., tuple[Path, Path]],
    changes_unet: bool,
    values: dict[str, Any],
    message: str,
) -> None:
    folders = changed(changes_unet, values)
    file = folders[0] / "unet/config.json" if changes_unet else folders[1] / "config.json"
    with pytest.raises(UserError, match=message) as caught:
        find_joined(folders)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value).splitlines()) == 1


def test_missing_weights_are_named_by_their_folder(
    changed: Callable[..., tuple[Path, Path]],
    stable_diffusion_folders: tuple[Path, Path],
) -> None:
    stable_diffusion, adapter = changed(False, {})
    with pytest.raises(UserError, match=rf"^{stable_diffusion} has no weights for unet, vae"):
        find_joined((stable_diffusion, adapter)).require_weights()
    with pytest.raises(UserError, match=rf"^{adapter} has no weights\. Copy it anew"):
        find_joined((stable_diffusion_folders[0], adapter)).require_weights()


# --- from the Hub


@pytest.mark.parametrize("configs_only", [False, True])
def test_an_adapter_is_downloaded(
    stable_diffusion_folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    configs_only: bool,
) -> None:
    stable_diffusion, adapter = stable_diffusion_folders
    asked: dict[str, Any] = {}
    files = ["README.md", "config.json", WEIGHTS, "diffusion_pytorch_model.fp16.safetensors"]

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(adapter)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, name: files)
    layout = find_base(str(stable_diffusion), configs_only, "someone/an_adapter")
    assert layout.motion_adapter is not None
    assert layout.path_of(layout.motion_adapter) == adapter
    wanted = ["config.json"] if configs_only else ["config.json", WEIGHTS]
    assert asked == {"name": "someone/an_adapter", "patterns": wanted}


def test_weights_before_averaging_are_left_where_they_are() -> None:
    files = [f"unet/diffusion_pytorch_model{kind}.safetensors" for kind in ("", ".non_ema")]
    assert choose_weights(files, "unet") == files[:1]
