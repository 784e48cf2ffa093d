"""Random bases have the layout of real ones, and no part of them is without effect."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    MotionAdapter,
    UNet3DConditionModel,
    UNetMotionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from safetensors.torch import load_file

from motionmatcher.bases.layout import find_base
from testbed.random_base import (
    ANIMATEDIFF_FULL_SIZE,
    FULL_SIZE,
    main,
    write_random_base,
    write_random_wan,
)


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_wan(tmp_path_factory.mktemp("wan"))


def test_the_layout(base_folder: Path) -> None:
    layout = find_base(str(base_folder))
    assert layout.missing_weights() == []
    index = json.loads((base_folder / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet3DConditionModel"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert {name for name in index if not name.startswith("_")} == {
        path.name for path in base_folder.iterdir() if path.is_dir()
    }


@pytest.mark.parametrize(
    ("kind", "num_files"), [("base_folder", 3), ("wan_folder", 3), ("animatediff_folder", 4)]
)
def test_nothing_is_without_effect(
    kind: str, num_files: int, request: pytest.FixtureRequest
) -> None:
    files = list(request.getfixturevalue(kind).rglob("*.safetensors"))
    assert len(files) == num_files
    for file in files:
        for name, weight in load_file(file).items():
            assert weight.any(), f"{file.parent.name}: {name}"
            assert torch.isfinite(weight).all()


def test_the_seed_fixes_the_weights(base_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    again = write_random_base(tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)
    other = write_random_base(tmp_path / "other", seed=1)
    fingerprints = [find_base(str(folder)).fingerprint() for folder in (base_folder, again, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_configs_alone(tmp_path: Path) -> None:
    folder = write_random_base(tmp_path, prediction_type="v_prediction", configs_only=True)
    layout = find_base(str(folder))
    assert layout.missing_weights() == ["unet", "vae", "text_encoder"]
    assert layout.schedule.config["prediction_type"] == "v_prediction"
    assert layout.denoiser.config["block_out_channels"] == [32, 64]


def test_full_size_is_zeroscope_s_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["random_base", str(tmp_path), "--full-size", "--configs-only"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    assert capsys.readouterr().out == f"{tmp_path}\n"
    layout = find_base(str(tmp_path))
    assert layout.latent_shape(16, 576, 320) == (4, 16, 40, 72)
    with torch.device("meta"):
        unet = UNet3DConditionModel.from_config(layout.denoiser.config)
    assert sum(weight.numel() for weight in unet.parameters()) == 1_411_233_860
    assert FULL_SIZE["text_encoder"]["hidden_size"] == layout.denoiser.config["cross_attention_dim"]


def test_wan_pipeline_loads_and_runs_a_wan(wan_folder: Path) -> None:
    pipeline = WanPipeline.from_pretrained(wan_folder)
    pipeline.set_progress_bar_config(disable=True)
    classes = {name: type(part).__name__ for name, part in pipeline.components.items()}
    assert classes == {
        "transformer": "WanTransformer3DModel",
        "transformer_2": "NoneType",
        "vae": "AutoencoderKLWan",
        "text_encoder": "UMT5EncoderModel",
        "tokenizer": "T5Tokenizer",
        "scheduler": "UniPCMultistepScheduler",
    }
    videos = [
        pipeline(
            prompt=prompt,
            height=32,
            width=48,
            num_frames=5,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).frames
        for prompt in ("a red star", "a blue star")
    ]
    assert videos[0].shape == (1, 5, 3, 32, 48)
    assert not torch.equal(*videos), "the prompt has an effect"


def test_a_wan_s_tokens_are_characters_an_end_and_padding(wan_folder: Path) -> None:
    tokenizer = WanPipeline.from_pretrained(wan_folder).tokenizer
    tokens = tokenizer("a star", padding="max_length", max_length=512, return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(tokens.input_ids[0, :9].tolist()) == [
        *("▁", "a", "▁", "s", "t", "a", "r"),
        *("</s>", "<pad>"),
    ]
    assert tokens.attention_mask.sum() == 8


def test_full_size_is_wan_s_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["random_base", str(tmp_path), "--kind", "wan", "--full-size", "--configs-only"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    config = json.loads((tmp_path / "transformer" / "config.json").read_text())
    with torch.device("meta"):
        transformer = WanTransformer3DModel.from_config(config)
    assert sum(weight.numel() for weight in transformer.parameters()) == 1_418_996_800
    text_config = json.loads((tmp_path / "text_encoder" / "config.json").read_text())
    assert text_config["d_model"] == config["text_dim"]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_animatediff_holds_its_motion_modules_twice(animatediff_folder: Path) -> None:
    adapter, unet = (
        load_file(animatediff_folder / name / "diffusion_pytorch_model.safetensors")
        for name in ("motion_adapter", "unet")
    )
    motion_modules = {name for name in unet if ".motion_modules." in name}
    assert adapter.keys() == motion_modules
    assert all(torch.equal(weight, unet[name]) for name, weight in adapter.items())


def test_full_size_is_animatediff_s_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["random_base", str(tmp_path), "--kind", "animatediff", "--full-size"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--configs-only"])
    main()
    layout = find_base(str(tmp_path))
    assert layout.latent_shape(16, 512, 512) == (4, 16, 64, 64)
    assert ANIMATEDIFF_FULL_SIZE["text_encoder"]["hidden_size"] == 768
    configs = [
        json.loads((tmp_path / name / "config.json").read_text())
        for name in ("unet", "motion_adapter")
    ]
    with torch.device("meta"):
        networks = (UNetMotionModel, MotionAdapter)
        sizes = [
            sum(weight.numel() for weight in network.from_config(config).parameters())
            for network, config in zip(networks, configs, strict=True)
        ]
    assert sizes == [1_312_730_244, 453_209_280]
    assert sizes[0] - sizes[1] == 859_520_964, "Stable Diffusion 1.5's"
