"""The transformer's part of the recipe: its losses and its data by hand, and its stages as a whole."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from launching import PROJECT
from scene_factory import make_scene
from torch import Tensor, nn

from motionmatcher.bases.layout import find_base
from motionmatcher.errors import UserError
from motionmatcher.text_files import read_json
from testbed import score
from testbed.config import PretrainConfig, TransformerConfig, load_config
from testbed.denoiser import build_model, denoiser_state_path, position_weight, train_denoiser
from testbed.export import export_base
from testbed.networks import PositionHead, make_scheduler
from testbed.pretrain import pretrain
from testbed.pretraining_losses import draw_sigmas, velocity_error
from testbed.recipe import list_stages
from testbed.restore import restore_states
from testbed.scenes import choose_frames, play_backwards, sample_scene, scene_stream
from testbed.stage import read_state

SHIPPED = PROJECT / "testbed" / "moving_shapes_wan.yaml"


@pytest.fixture
def transformer_config(pretrained_config: PretrainConfig) -> PretrainConfig:
    """The tiny recipe with a transformer, on the tiny UNet recipe's exported parts."""
    transformer = TransformerConfig(
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=12,
        ffn_dim=32,
        position_weight=0.05,
        final_position_weight=0.02,
        position_block=0,
    )
    denoiser = dataclasses.replace(
        pretrained_config.denoiser,
        unet=None,
        transformer=transformer,
        objective="flow",
        num_rendered_frames=16,
        reversal=0.5,
        noise_offset=0.0,
        stages=pretrained_config.denoiser.stages[1:],
    )
    return dataclasses.replace(
        pretrained_config,
        state_dir=pretrained_config.state_dir.with_name("transformer_states"),
        model_dir=pretrained_config.model_dir.with_name("transformer"),
        autoencoder=None,
        autoencoder_dir=pretrained_config.model_dir / "vae",
        text=None,
        denoiser=denoiser,
    )


def test_stages_train_on_the_exported_parts_and_pass_the_gate(
    transformer_config: PretrainConfig,
) -> None:
    (stage,) = list_stages(transformer_config)
    assert stage.train()
    tensors, meta = read_state(denoiser_state_path(transformer_config, 0))
    assert int(meta["step"]) == 2
    assert "model.position_head.linear.weight" in tensors
    values = stage.measure()
    assert values.keys() == {"position_r2", "frame_r2", "velocity_error", "word_gain"}
    assert all(math.isfinite(value) for value in values.values())
    log = json.loads(meta["log"])
    assert log[-1]["loss"] == pytest.approx(
        log[-1]["mse"] + 0.0425 * log[-1]["position_loss"], 0.05
    )


def test_resumed_training_equals_an_unbroken_one(transformer_config: PretrainConfig) -> None:
    broken = dataclasses.replace(
        transformer_config, state_dir=transformer_config.state_dir.with_name("broken")
    )
    train_denoiser(transformer_config, 0)
    train_denoiser(broken, 0, stop_after=1)
    train_denoiser(broken, 0)
    whole, _ = read_state(denoiser_state_path(transformer_config, 0))
    resumed, _ = read_state(denoiser_state_path(broken, 0))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_exported_base_is_the_same_wherever_its_parts_lie(
    transformer_config: PretrainConfig,
) -> None:
    train_denoiser(transformer_config, 0)
    assert transformer_config.autoencoder_dir is not None
    elsewhere = transformer_config.state_dir.with_name("elsewhere")
    shutil.copytree(transformer_config.autoencoder_dir, elsewhere / "vae")
    moved = dataclasses.replace(
        transformer_config, autoencoder_dir=elsewhere / "vae", model_dir=elsewhere / "base"
    )
    fingerprints = set()
    for config in (transformer_config, moved):
        export_base(config)
        fingerprints.add(find_base(str(config.model_dir)).fingerprint())
        for file in ("config.json", "diffusion_pytorch_model.safetensors"):
            exported = (config.model_dir / "vae" / file).read_bytes()
            assert exported == (transformer_config.autoencoder_dir / file).read_bytes()
    assert len(fingerprints) == 1


def test_lost_state_is_made_anew_from_the_export(transformer_config: PretrainConfig) -> None:
    pretrain(transformer_config, ignore_gates=True)
    before = {
        path: path.read_bytes()
        for path in transformer_config.model_dir.rglob("*")
        if path.is_file()
    }
    heads = []
    for name in ("lost", "lost_again"):
        lost = dataclasses.replace(
            transformer_config, state_dir=transformer_config.state_dir.with_name(name)
        )
        torch.manual_seed(len(name))
        assert restore_states(lost) == ["denoiser-0"]
        export_base(lost)
        for path, content in before.items():
            assert path.read_bytes() == content, path
        tensors, _ = read_state(denoiser_state_path(lost, 0))
        heads.append(tensors["ema.position_head.linear.weight"])
    # The same one each time, and the one that training begins with.
    untrained = build_model(transformer_config).position_head
    assert untrained is not None
    assert all(torch.equal(head, untrained.linear.weight) for head in heads)


def test_transformer_is_scored_by_its_own_standard(
    transformer_config: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_denoiser(transformer_config, 0)
    export_base(transformer_config)
    written = transformer_config.model_dir / "scores.json"
    flags = ["--num_prompts", "2", "--num_frames", "3", "--num_steps", "1", "--device", "cpu"]
    flags += ["--prompts_per_word", "1", "--json", str(written)]
    monkeypatch.setattr("sys.argv", ["score", "--base", str(transformer_config.model_dir), *flags])
    score.main()
    assert read_json(written)["settings"] == {
        "num_prompts": 2,
        "num_frames": 3,
        "num_steps": 1,
        "guidance": 4.0,
        "seed": 0,
        "prompts_per_word": 1,
    }
    export_base(transformer_config)
    card = (transformer_config.model_dir / "README.md").read_text(encoding="utf-8")
    assert "1 Euler steps, guidance 4" in card


def test_position_head_names_frame_row_and_column_in_the_order_of_tokens() -> None:
    head = PositionHead(width=24, num_frames=16)
    assert head.sizes == (16, 4, 4)
    # Features that say the right answer: one-hot frame, row and column, a token after the other.
    places = torch.cartesian_prod(torch.arange(8), torch.arange(4), torch.arange(4))
    features = torch.cat(
        [nn.functional.one_hot(places[:, i], n) for i, n in enumerate(head.sizes)], dim=1
    ).float()[None]
    with torch.no_grad():
        head.linear.bias.zero_()
        head.linear.weight.copy_(50 * torch.eye(24))
        assert head(features).item() == pytest.approx(0.0, abs=1e-6)
        head.linear.weight.zero_()
        by_chance = (math.log(16) + 2 * math.log(4)) / 3
        assert head(features).item() == pytest.approx(by_chance, rel=1e-6)


def test_position_head_changes_no_prediction(transformer_config: PretrainConfig) -> None:
    model = build_model(transformer_config)
    assert model.position_head is not None
    arguments = (torch.randn(1, 4, 8, 8, 8), torch.tensor([900.0]), torch.zeros(1, 32).long())
    with torch.no_grad():
        before = model(*arguments)
        model.position_head.linear.weight.add_(1.0)
        assert torch.equal(model(*arguments), before)


def test_weight_of_the_position_loss_falls(transformer_config: PretrainConfig) -> None:
    weights = [position_weight(transformer_config.denoiser, part) for part in (0.0, 0.5, 1.0)]
    assert weights == pytest.approx([0.05, 0.035, 0.02])


def test_velocity_error_by_hand() -> None:
    seen = []

    class FixedVelocity(nn.Module):
        def forward(self, noisy: Tensor, timesteps: Tensor, _: Tensor) -> Tensor:
            seen.append((noisy, timesteps))
            return torch.full_like(noisy, 3.0)

    clean, noise = torch.full((2, 1, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1, 1), 4.0)
    errors = velocity_error(
        FixedVelocity(),  # type: ignore[arg-type]
        clean,
        torch.zeros(2, 1),
        noise,
        torch.tensor([0.25, 0.5]),
    )
    assert errors.tolist() == [1.0, 1.0]  # (3 - (4 - 2))²
    noisy, timesteps = seen[0]
    assert noisy.flatten().tolist() == [2.5, 3.0]
    assert timesteps.tolist() == [250.0, 500.0]


def test_sigmas_are_logit_normal_with_an_even_part() -> None:
    drawn = draw_sigmas(20000, torch.Generator().manual_seed(0))
    assert drawn.min() > 0
    assert drawn.max() < 1
    # By hand: 0.2 * 0.5 + 0.8 * (1 - Phi(-0.8)) = 0.731 are above a half.
    assert (drawn > 0.5).float().mean().item() == pytest.approx(0.731, abs=0.01)
    # 0.2 * 0.1 + 0.8 * Phi(-2.197 - 0.8) = 0.0211 are below a tenth: the even part.
    assert (drawn < 0.1).float().mean().item() == pytest.approx(0.0211, abs=0.004)


def test_backwards_is_described_backwards() -> None:
    scene = dataclasses.replace(make_scene(motion="line"), camera_motion="pans left and zooms in")
    back = play_backwards(scene)
    assert back.camera_motion == "pans right and zooms out"
    assert back.path.tolist() == scene.path.tolist()[::-1]
    assert back.radius.tolist() == scene.radius.tolist()[::-1]
    assert back.camera.tolist() == scene.camera.tolist()[::-1]
    assert play_backwards(back).camera_motion == scene.camera_motion
    assert play_backwards(dataclasses.replace(scene, camera_motion="")).camera_motion == ""


def test_chosen_frames_keep_a_clips_words_and_a_single_one_rests() -> None:
    scene = sample_scene(scene_stream(0, "train", 5), "train", 16)
    half = choose_frames(scene, np.arange(8) * 2)
    assert (half.motion, half.camera_motion) == (scene.motion, scene.camera_motion)
    assert half.path.tolist() == scene.path[::2].tolist()
    assert choose_frames(scene, np.asarray([3])).motion == "still"


def test_schedulers_are_those_of_the_objective() -> None:
    flow = make_scheduler("flow")
    assert isinstance(flow, FlowMatchEulerDiscreteScheduler)
    assert flow.config.shift == 2.0
    flow.set_timesteps(100)
    # By hand: the middle place, 2 * 0.5 / (1 + 0.5).
    assert flow.sigmas[50].item() == pytest.approx(2 / 3, abs=0.01)
    drawn = draw_sigmas(20_000, torch.Generator().manual_seed(0))
    assert drawn.median().item() == pytest.approx(2 / 3, abs=0.01)


def test_shipped_config_is_wans_layout_and_small() -> None:
    config = load_config(SHIPPED)
    assert config.denoiser.transformer is not None
    assert config.denoiser.objective == "flow"
    config = dataclasses.replace(config, autoencoder_dir=None)
    model = build_model(config)
    assert isinstance(model.denoiser, WanTransformer3DModel)
    num_bytes = 2 * sum(p.numel() for p in model.denoiser.parameters())
    assert num_bytes < 9e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("objective: flow", "objective: flaw"),
            "objective must be one of epsilon, flow, not 'flaw'. Did you mean 'flow'",
        ),
        (
            ("autoencoder_dir: models/moving_shapes/vae\n", ""),
            "give either autoencoder or autoencoder_dir",
        ),
        (
            ("  transformer:", "  unet: null\n  transformor:"),
            r"unknown key 'denoiser\.transformor'",
        ),
        (("    num_layers: 6\n", ""), r"denoiser\.transformer\.num_layers is missing"),
    ],
)
def test_config_errors_name_the_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert change[0] in text
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_config(path)
