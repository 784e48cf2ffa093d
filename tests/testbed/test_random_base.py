"""Random bases have Zeroscope's layout, and no part of them is without effect."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel
from safetensors.torch import load_file

from motionmatcher.bases.layout import find_base
from testbed.random_base import FULL_SIZE, main, write_random_base


def test_the_layout(base_folder: Path) -> None:
    layout = find_base(str(base_folder))
    assert layout.missing_weights() == []
    index = json.loads((base_folder / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet3DConditionModel"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert {name for name in index if not name.startswith("_")} == {
        path.name for path in base_folder.iterdir() if path.is_dir()
    }


def test_nothing_is_without_effect(base_folder: Path) -> None:
    files = list(base_folder.rglob("*.safetensors"))
    assert len(files) == 3
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
