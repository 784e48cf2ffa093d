"""A pretraining small enough for tests.

pytest's first process loads this too, and waits for no torch: see `small_models`.
"""

import shutil
from pathlib import Path

import pytest

from testbed.config import (
    AutoencoderConfig,
    DenoiserConfig,
    DenoiserStageConfig,
    PretrainConfig,
    TextConfig,
    UNetConfig,
)


def tiny_stage(num_frames: int) -> DenoiserStageConfig:
    return DenoiserStageConfig(
        num_frames=num_frames,
        num_steps=2,
        batch_size=2,
        learning_rate=1e-3,
        text_learning_rate=1e-4,
        final_rate=0.1,
    )


def cut_data(patch: pytest.MonkeyPatch) -> None:
    """Cut the data that the recipe's stages and gates take."""
    from testbed import gates, latents

    patch.setattr(latents, "PART_SIZE", 2)
    patch.setattr(gates, "RECONSTRUCTED_FRAMES", 20)
    patch.setattr(gates, "PROBE_CLIPS", 4)
    patch.setattr(gates, "PROBE_TRAINING_CLIPS", 3)


@pytest.fixture
def tiny_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretrainConfig:
    """A recipe of which nothing is done yet."""
    cut_data(monkeypatch)
    return tiny_recipe(tmp_path)


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the recipe leaves: it takes seconds, so that tests have copies of it."""
    from testbed.pretrain import pretrain

    folder = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        cut_data(patch)
        pretrain(tiny_recipe(folder), ignore_gates=True)
    return folder


@pytest.fixture
def pretrained_config(tiny_config: PretrainConfig, pretrained_folder: Path) -> PretrainConfig:
    """The recipe when all of it is done."""
    shutil.copytree(pretrained_folder, tiny_config.state_dir.parent, dirs_exist_ok=True)
    return tiny_config


def tiny_recipe(folder: Path) -> PretrainConfig:
    return PretrainConfig(
        seed=3,
        num_threads=1,
        checkpoint_minutes=60.0,
        state_dir=folder / "states",
        model_dir=folder / "base",
        clip_dir=folder / "clip",
        autoencoder=AutoencoderConfig(
            block_out_channels=(4, 4, 4, 4),
            norm_num_groups=2,
            num_steps=3,
            batch_size=2,
            num_crop_steps=2,
            crop_size=32,
            crop_batch_size=3,
            learning_rate=1e-3,
            latent_noise=0.1,
            object_weight=1.0,
            edge_weight=5.0,
        ),
        text=TextConfig(
            hidden_size=32,
            image_hidden_size=32,
            num_layers=1,
            image_num_layers=1,
            num_steps=2,
            batch_size=4,
            learning_rate=1e-3,
        ),
        denoiser=DenoiserConfig(
            unet=UNetConfig(block_out_channels=(32, 32), layers_per_block=1, attention_head_dim=8),
            objective="epsilon",
            num_cached_clips=4,
            num_rendered_frames=8,
            reversal=0.0,
            caption_dropout=0.1,
            noise_offset=0.3,
            ema_decay=0.9,
            stages=(tiny_stage(1), tiny_stage(8)),
        ),
    )
