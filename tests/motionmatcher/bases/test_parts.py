"""A denoiser of one's own is a class and a line in the list of parts; nothing else knows of it."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from einops import rearrange, repeat
from safetensors.torch import load_file
from torch import Tensor, nn

from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import load_lora
from motionmatcher.bases.parts import DENOISER, KINDS, SCHEDULE
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import MotionExtractorSettings, TrainSettings
from motionmatcher.cost.estimate import estimate_run
from motionmatcher.diffusion.flow_schedule import FlowSchedule
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.errors import UserError
from motionmatcher.features.maps import FeatureLayers, Size
from motionmatcher.training.assembly import start_training
from motionmatcher.training.checks import check_training

CPU = torch.device("cpu")


class ToyDenoiser(Denoiser):
    """One layer of attention to the prompt, and one over the frames at each place."""

    layer_classes = (Attention,)
    input_layer = "project_in"
    text_width_key = "text_dim"
    precisions = ("no", "bf16")
    lora_prefix = "transformer"

    @register_to_config
    def __init__(self, in_channels: int = 4, width: int = 16, text_dim: int = 32) -> None:
        super().__init__()
        self.project_in = nn.Linear(in_channels, width)
        self.time = nn.Linear(1, width)
        self.cross = Attention(width, cross_attention_dim=text_dim, heads=2, dim_head=8)
        self.temporal = Attention(width, heads=2, dim_head=8)
        self.project_out = nn.Linear(width, in_channels)

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        config.whole("width", 1, 64)

    @classmethod
    def choose_layers(
        cls, config: Mapping[str, Any], latent_size: Size, settings: MotionExtractorSettings
    ) -> FeatureLayers:
        return FeatureLayers(("cross",), ("temporal",), latent_size, latent_size, last_block=0)

    @classmethod
    def least_values(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int:
        return torch.Size(latent_shape).numel() // config["in_channels"] * config["width"]

    def lora_targets(self, kind: str) -> list[str]:
        return [f"{layer}.{name}" for layer in ("cross", "temporal") for name in ("to_q", "to_k")]

    def run_blocks(
        self, latents: Tensor, timesteps: Tensor, text_states: Tensor, last_block: int
    ) -> None:
        self.run_layers(latents, timesteps, text_states)

    def run_layers(self, latents: Tensor, timesteps: Tensor, text_states: Tensor) -> Tensor:
        _, _, frames, height, width = latents.shape
        hidden = self.project_in(rearrange(latents, "b c f h w -> b f (h w) c"))
        share = torch.as_tensor(timesteps).reshape(-1, 1).to(hidden) / 1000
        hidden = rearrange(hidden + self.time(share)[:, None, None], "b f n d -> (b f) n d")
        hidden = hidden + self.cross(hidden, repeat(text_states, "b t d -> (b f) t d", f=frames))
        hidden = rearrange(hidden, "(b f) n d -> (b n) f d", f=frames)
        hidden = hidden + self.temporal(hidden)
        return rearrange(hidden, "(b h w) f d -> b f h w d", h=height, w=width)

    def forward(self, latents: Tensor, timesteps: Tensor, text_states: Tensor) -> SimpleNamespace:
        hidden = self.run_layers(latents, timesteps, text_states)
        return SimpleNamespace(sample=rearrange(self.project_out(hidden), "b f h w c -> b c f h w"))


@pytest.fixture
def toy_base(base_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The small base with the toy in its denoiser's place."""
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder, ignore=shutil.ignore_patterns("unet"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ToyDenoiser().save_pretrained(folder / "transformer")
    DENOISER.classes["ToyDenoiser"] = f"{__name__}:ToyDenoiser"
    yield folder
    del DENOISER.classes["ToyDenoiser"]


def toy_settings(run_values: dict[str, Any], toy_base: Path, **values: Any) -> TrainSettings:
    own = {"pretrained_model_path": str(toy_base), "output_dir": str(toy_base.parent / "runs")}
    return parse_settings(TrainSettings, {**run_values, **own, "max_train_steps": 2, **values}, "")


@pytest.mark.parametrize("mode", ["difference", "tangent"])
def test_two_steps_of_training_on_a_toy(
    run_values: dict[str, Any], toy_base: Path, mode: str
) -> None:
    settings = toy_settings(
        run_values, toy_base, motion_extractor={"mode": mode}, gradient_checkpointing=True
    )
    plan = check_training(settings)
    assert plan.layout.denoiser.folder == "transformer"
    assert estimate_run(plan.layout, plan.settings, CPU).lora_modules == 4

    run = start_training(plan, CPU)
    assert run.finished
    assert list((run.folder / "samples").rglob("*.mp4"))
    folder = run.find_checkpoint(2) / "lora"
    saved = load_file(folder / "pytorch_lora_weights.safetensors")
    assert len(saved) == 8
    assert all(name.startswith("transformer.") for name in saved)
    assert all(tensor.any() for name, tensor in saved.items() if "lora_B" in name)

    base = load_base_model(plan.layout, CPU)
    load_lora(base.denoiser, folder)
    for name, weight in base.denoiser.lora_parameters().items():
        assert torch.equal(weight, saved[f"transformer.{name.replace('.default', '')}"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixed_precision": "fp16"}, "mixed_precision fp16: this base's weights .* use bf16 or no"),
        ({"lora_targets": ["spatial_conv"]}, "lora_targets: this base has no spatial_conv: expected"),
    ],
)  # fmt: skip
def test_settings_that_a_denoiser_does_not_take(
    run_values: dict[str, Any], toy_base: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        check_training(toy_settings(run_values, toy_base, **values), dry_run=True)


def test_its_config_is_checked(toy_base: Path) -> None:
    config = toy_base / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "width": 0}))
    with pytest.raises(UserError, match=rf"^{config}: width must be at least 1, not 0"):
        find_base(str(toy_base))


def test_every_class_in_the_list_is_there() -> None:
    for kind in KINDS:
        for name, path in kind.classes.items():
            assert kind.find_class(name, {}).__name__ == path.partition(":")[2]


def test_one_scheduler_stands_for_two_kinds_of_schedules() -> None:
    name = "UniPCMultistepScheduler"
    assert SCHEDULE.find_class(name, {"use_flow_sigmas": False}) is NoiseSchedule
    assert SCHEDULE.find_class(name, {"use_flow_sigmas": True}) is FlowSchedule
    assert SCHEDULE.find_class("DDIMScheduler", {"use_flow_sigmas": True}) is NoiseSchedule
