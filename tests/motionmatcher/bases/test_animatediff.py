"""AnimateDiff's UNet: it computes what diffusers' does, its maps are those of a whole pass."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimateDiffPipeline, UNetMotionModel
from diffusers.models.attention_processor import Attention
from small_models import layers_run
from torch import Tensor, nn

from motionmatcher.bases.animatediff import AnimateDiffUNet
from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.denoiser import PassMode
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import LoraInfo, add_lora, load_lora, save_lora
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.cost.step import sampling_peak_bytes
from motionmatcher.diffusion.sampling import SamplingSettings, denoise_with_gate
from motionmatcher.errors import UserError
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.recording import AttentionRecorder

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = tuple(
    f"down_blocks.1.motion_modules.0.transformer_blocks.0.{name}" for name in ("attn1", "attn2")
)
SETTINGS = MotionExtractorSettings(spatial_scale_factor=1, temporal_scale_factor=2)
Inputs = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def plain(animatediff_folder: Path) -> UNetMotionModel:
    return UNetMotionModel.from_pretrained(animatediff_folder, subfolder="unet").eval()


@pytest.fixture(scope="module")
def bare(animatediff_folder: Path) -> AnimateDiffUNet:
    """Without a LoRA; no test changes it."""
    return AnimateDiffUNet.from_pretrained(animatediff_folder, subfolder="unet").eval()


@pytest.fixture(scope="module")
def student(bare: AnimateDiffUNet) -> AnimateDiffUNet:
    """With a LoRA that has an effect, for B is not zero."""
    return with_lora(bare)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Two videos of three frames, not square, at timesteps of their own."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 3, 4, 6, generator=generator)
    return latents, torch.tensor([700, 3]), torch.randn(2, 7, 32, generator=generator)


def with_lora(bare: AnimateDiffUNet, dropout: float = 0.0) -> AnimateDiffUNet:
    unet = deepcopy(bare)
    add_lora(unet, 2, ["attention"], dropout)
    generator = torch.Generator().manual_seed(1)
    for name, weight in unet.lora_parameters().items():
        if ".lora_B." in name:
            weight.data = torch.randn(weight.shape, generator=generator).to(weight) * 0.3
    return unet


def plain_prediction(unet: UNetMotionModel, inputs: Inputs) -> Tensor:
    """What diffusers' pipeline calls: it gives the prompt once a frame."""
    latents, timesteps, text_states = inputs
    with torch.no_grad():
        prediction: Tensor = unet(
            latents, timesteps, text_states.repeat_interleave(latents.shape[2], 0)
        ).sample
    return prediction


# --- the pass, and its maps


def test_it_is_the_plain_unet(
    plain: UNetMotionModel, bare: AnimateDiffUNet, student: AnimateDiffUNet, inputs: Inputs
) -> None:
    expected = plain_prediction(plain, inputs)
    assert expected.std() > 0.1
    with torch.no_grad():
        assert torch.equal(bare.predict(*inputs), expected)
        with_lora_on = student.predict(*inputs)
        with student.in_mode(PassMode(lora=False)):
            assert torch.equal(student.predict(*inputs), expected)
    assert (with_lora_on - expected).std() > 0.01


def maps_of(
    unet: AnimateDiffUNet, run: Callable[[], object], full_precision: bool = False
) -> dict[str, Tensor]:
    recorder = AttentionRecorder((CROSS, *TEMPORAL))
    mode = PassMode(lora=False, recorder=recorder, full_precision=full_precision)
    with torch.no_grad(), unet.in_mode(mode):
        run()
    return recorder.maps


def test_the_encoder_pass_gives_the_maps_of_the_whole_pass(
    bare: AnimateDiffUNet, inputs: Inputs
) -> None:
    whole = maps_of(bare, lambda: bare.predict(*inputs))
    encoder = maps_of(bare, lambda: bare.run_blocks(*inputs, 1))
    assert whole.keys() == encoder.keys() == {CROSS, *TEMPORAL}
    assert {name: tuple(maps.shape) for name, maps in whole.items()} == {
        CROSS: (2 * 3, 4 * 6, 7),
        **dict.fromkeys(TEMPORAL, (2 * 2 * 3, 3, 3)),
    }
    for name, maps in whole.items():
        assert torch.equal(encoder[name], maps)
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


def test_full_precision_upcasts_half_precision_weights(
    student: AnimateDiffUNet, inputs: Inputs
) -> None:
    half = deepcopy(student).to(torch.bfloat16)
    upcast = deepcopy(half).float()
    expected = maps_of(upcast, lambda: upcast.run_blocks(*inputs, 1))
    found = maps_of(half, lambda: half.run_blocks(*inputs, 1), full_precision=True)
    for name, maps in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], maps, rtol=0, atol=1e-6)


@pytest.mark.parametrize("last_block", [0, 1])
def test_no_block_after_the_last_one_runs(
    bare: AnimateDiffUNet, inputs: Inputs, last_block: int
) -> None:
    ran = layers_run(bare, lambda copied: copied.run_blocks(*inputs, last_block))
    assert any(name.startswith(f"down_blocks.{last_block}.motion_modules.") for name in ran)
    for unread in ("mid_block.", "up_blocks.", "conv_norm_out", "conv_out"):
        assert not any(name.startswith(unread) for name in ran), unread
    for later in ("down_blocks.0.downsamplers.", "down_blocks.1."):
        assert any(name.startswith(later) for name in ran) == (last_block == 1)


def test_layers_are_picked_by_path(bare: AnimateDiffUNet) -> None:
    layers = bare.choose_layers(bare.config, (4, 6), SETTINGS)
    assert (layers.cross_attention, layers.temporal_attention) == ((CROSS,), TEMPORAL)
    for name in (CROSS, *TEMPORAL):
        assert isinstance(bare.get_submodule(name), Attention)
    assert (layers.cross_size, layers.temporal_size, layers.last_block) == ((4, 6), (2, 3), 1)


def test_blocks_without_cross_attention_have_layers_in_time(bare: AnimateDiffUNet) -> None:
    """The second block has motion modules alone, so only maps of time can be read there."""
    settings = MotionExtractorSettings(spatial_scale_factor=2, temporal_scale_factor=1)
    message = r"spatial_scale_factor 2: .* there are 4x6 \(scale factor 1\)\. Choose"
    with pytest.raises(UserError, match=message):
        bare.choose_layers(bare.config, (4, 6), settings)


@pytest.fixture(scope="module")
def exact(bare: AnimateDiffUNet) -> AnimateDiffUNet:
    """In fp64, with a LoRA."""
    return with_lora(deepcopy(bare).double().requires_grad_(False))


def exact_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    point, step = torch.randn(2, 1, 4, 3, 4, 6, generator=generator, dtype=torch.float64)
    text_states = torch.randn(1, 7, 32, generator=generator, dtype=torch.float64)
    return point, step.requires_grad_(), torch.tensor([700]), text_states


def test_the_tangent_is_the_derivative_of_the_features(exact: AnimateDiffUNet) -> None:
    extractor = MotionExtractor(exact, (4, 6), SETTINGS)
    point, step, timesteps, text_states = exact_inputs()
    change = extractor.change(point, step, timesteps, text_states)
    with torch.no_grad():
        after = extractor(point + 1e-5 * step, timesteps, text_states)
        before = extractor(point - 1e-5 * step, timesteps, text_states)
    for kind in ("cross_attention", "temporal_attention"):
        by_differences = (getattr(after, kind) - getattr(before, kind)) / 2e-5
        assert by_differences.abs().max() > 1e-4
        torch.testing.assert_close(getattr(change, kind), by_differences, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("recomputed", ["selective", "full"])
def test_recomputing_changes_no_gradient(
    bare: AnimateDiffUNet, inputs: Inputs, recomputed: str
) -> None:
    """Of a student whose prediction the frozen base reads: LoRA on, then off."""

    def gradients(unet: AnimateDiffUNet) -> dict[str, Tensor]:
        unet.zero_grad()
        torch.manual_seed(5)
        latents, timesteps, text_states = inputs
        extractor = MotionExtractor(unet, (4, 6), SETTINGS)
        features = extractor(latents + unet.predict(*inputs), timesteps, text_states)
        loss = (
            features.cross_attention.square().mean() + features.temporal_attention.square().mean()
        )
        loss.backward()
        values = {name: weight.grad for name, weight in unet.lora_parameters().items()}
        return {name: value.clone() for name, value in values.items() if value is not None}

    unet = with_lora(bare, dropout=0.3).train()
    expected = gradients(unet)
    assert len(expected) == len(unet.lora_parameters())
    assert all(gradient.any() for gradient in expected.values())
    unet.recompute_in_backward(recomputed)
    again = gradients(unet)
    assert all(torch.equal(again[name], gradient) for name, gradient in expected.items())


# --- adapters


def test_the_published_targets_carried_over(bare: AnimateDiffUNet) -> None:
    names = bare.lora_targets("attention")
    # Spatial transformers: 1 in the encoder, 1 in the middle, 2 in the decoder; motion modules: 2, 1
    # and 4. Each block has 4 Linears an attention and 2 in its feed-forward.
    assert len(names) == 4 * (4 + 2) + 7 * (4 + 4 + 2)
    assert all(isinstance(bare.get_submodule(name), nn.Linear) for name in names)
    spatial = {name for name in names if ".attentions." in name}
    assert len(spatial) == 4 * 6
    assert not any(".attn2." in name for name in spatial)
    # A residual block before each motion module, and one more in the middle.
    convolutions = bare.lora_targets("spatial_conv")
    assert len(convolutions) == 2 * (7 + 1)


@pytest.fixture(scope="module")
def base(animatediff_folder: Path) -> BaseModel:
    return load_base_model(find_base(str(animatediff_folder)), torch.device("cpu"))


@pytest.fixture
def pipeline(animatediff_folder: Path) -> AnimateDiffPipeline:
    pipeline = AnimateDiffPipeline.from_pretrained(animatediff_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_diffusers_pipeline_reads_the_lora(
    student: AnimateDiffUNet,
    bare: AnimateDiffUNet,
    pipeline: AnimateDiffPipeline,
    inputs: Inputs,
    tmp_path: Path,
) -> None:
    save_lora(student, tmp_path, LoraInfo(2, ("attention",)))
    pipeline.load_lora_weights(tmp_path)
    with torch.no_grad():
        ours, without = student.predict(*inputs), bare.predict(*inputs)
    theirs = plain_prediction(pipeline.unet, inputs)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    assert (theirs - without).abs().max() > 0.01
    unet = deepcopy(bare)
    load_lora(unet, tmp_path)
    with torch.no_grad():
        assert torch.equal(unet.predict(*inputs), ours)


def test_guided_sampling_is_diffusers_own(base: BaseModel, pipeline: AnimateDiffPipeline) -> None:
    latents = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    settings = SamplingSettings(
        num_frames=3,
        width=32,
        height=32,
        num_inference_steps=4,
        guidance_scale=7.5,
        lora_scale=0,
        noise_prior=0,
        min_timestep=1,
    )
    ours = denoise_with_gate(
        base, latents, base.text.encode(["A star."]), base.text.encode([""]), settings
    )
    theirs = pipeline(
        prompt="A star.",
        num_frames=3,
        width=32,
        height=32,
        num_inference_steps=4,
        guidance_scale=7.5,
        latents=latents,
        output_type="latent",
    ).frames
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_its_cost_is_counted_for_other_devices(animatediff_folder: Path) -> None:
    """Its positions are a buffer, which has to be where the frames are."""
    config = find_base(str(animatediff_folder)).denoiser.config
    shape, dtype = (2, 4, 3, 4, 6), torch.float32
    there, here = (
        sampling_peak_bytes(AnimateDiffUNet, config, shape, 7, dtype, torch.device(name))
        for name in ("cuda", "cpu")
    )
    assert here / 2 < there < 2 * here


# --- bad input


@pytest.fixture
def animatediff_configs(animatediff_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy the configs, with some keys of the UNet's changed."""

    def make(**values: Any) -> Path:
        ignore = shutil.ignore_patterns("*.safetensors")
        folder = shutil.copytree(animatediff_folder, tmp_path / "base", ignore=ignore)
        file = folder / "unet" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
        return folder

    return make


def test_more_frames_than_it_has_positions_for(animatediff_folder: Path) -> None:
    layout = find_base(str(animatediff_folder))
    assert layout.latent_shape(32, 32, 32) == (4, 32, 4, 4)
    with pytest.raises(UserError, match=r"^33 frames: this base model's denoiser takes at most 32"):
        layout.latent_shape(33, 32, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"down_block_types": ["DownBlockMotion"] * 2}, "must name a CrossAttnDownBlockMotion"),
        (
            {"num_attention_heads": 5},
            r"num_attention_heads must divide each of .*\[32, 64\], not 5",
        ),
        ({"motion_num_attention_heads": [4, 4]}, "must be a whole number, not"),
        ({"motion_max_seq_length": 0}, "motion_max_seq_length must be at least 1, not 0"),
        ({"use_motion_mid_block": 1}, "use_motion_mid_block must be true or false, not 1"),
        ({"transformer_layers_per_block": 2}, "transformer_layers_per_block must be 1, not 2"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type must be null, not 'text_time'"),
    ],
)
def test_a_wrong_value(
    animatediff_configs: Callable[..., Path], values: dict[str, Any], message: str
) -> None:
    folder = animatediff_configs(**values)
    with pytest.raises(UserError, match=message) as caught:
        find_base(str(folder))
    assert str(caught.value).startswith(str(folder / "unet" / "config.json"))
    assert len(str(caught.value).splitlines()) == 1
