"""The pure parts of the pretraining, by hand-computed values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scene_factory import make_scene
from torch import nn

from testbed.autoencoder import (
    StandardisedAutoencoder,
    frame_batch,
    images_to_tensor,
    loss_weights,
    tensor_to_images,
)
from testbed.config import PretrainConfig
from testbed.denoiser import ClipBatches
from testbed.gates import _probe_r2
from testbed.latents import encode_clips, load_clips
from testbed.networks import make_scheduler
from testbed.pretraining_losses import draw_evenly, draw_noise, min_snr_weights
from testbed.scenes import choose_frames
from testbed.stage import StageState, cosine_schedule, read_state, write_state
from testbed.text import attention_mask


def test_cosine_schedule_at_known_steps() -> None:
    rates = [cosine_schedule(step, 110, 10, final=0.2) for step in (0, 9, 10, 60, 110, 200)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.6, 0.2, 0.2])


def test_average_of_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    state = StageState(model, torch.optim.AdamW(model.parameters()), ema_decay=0.5)
    state.step = 100
    with torch.no_grad():
        model.weight.fill_(3.0)
    state.update_ema()
    assert state.ema is not None
    assert state.ema["weight"].item() == 2.0
    assert model.weight.item() == 3.0


def test_state_kept_in_half_precision_goes_on_in_full(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    state = StageState(model, torch.optim.AdamW(model.parameters()), ema_decay=0.5)
    model(torch.ones(3)).sum().backward()
    state.optimizer.step()
    state.step = 1
    state.save(tmp_path / "full", [])
    tensors, _ = read_state(tmp_path / "full")
    halves = {k: v if k.endswith(".step") else v.bfloat16() for k, v in tensors.items()}
    write_state(tmp_path / "half", halves, 1, 0.0, [])
    again = nn.Linear(3, 2)
    other = StageState(again, torch.optim.AdamW(again.parameters()), ema_decay=0.5)
    other.load(tmp_path / "half")
    for found, kept in (
        (again.weight, model.weight),
        (other.ema["weight"], state.ema["weight"]),  # type: ignore[index]
        *(
            (other.optimizer.state[again.weight][k], state.optimizer.state[model.weight][k])
            for k in ("exp_avg", "exp_avg_sq", "step")
        ),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, kept, rtol=1e-2, atol=0)


def test_folded_autoencoder_gives_standardised_latents_and_same_reconstructions(
    tiny_config: PretrainConfig,
) -> None:
    torch.manual_seed(0)
    assert tiny_config.autoencoder is not None
    model = StandardisedAutoencoder(tiny_config.autoencoder).eval()
    images, _ = frame_batch(0, 0, 8)
    with torch.no_grad():
        raw = model.vae.encode(images).latent_dist.mean  # (B, 4, h, w)
        variance, mean = torch.var_mean(raw, dim=(0, 2, 3))
        expected = model(images, torch.zeros_like(raw))
        model.mean.copy_(mean)
        model.variance.copy_(variance)
        vae = model.folded()
        posterior = vae.encode(images).latent_dist
    assert posterior.mean.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.0] * 4, abs=1e-4)
    assert posterior.mean.var(dim=(0, 2, 3)).tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    assert posterior.std.max() < 1e-6
    with torch.no_grad():
        decoded = vae.decode(posterior.mean).sample
    torch.testing.assert_close(decoded, expected, atol=1e-4, rtol=1e-3)


def test_loss_weights_by_hand() -> None:
    masks = torch.zeros(1, 1, 1, 7)
    masks[..., 3:] = 1.0
    weights = loss_weights(masks, object_weight=1.0, edge_weight=5.0)
    assert weights.flatten().tolist() == [1, 1, 7, 7, 2, 2, 2]


def test_crops_hold_the_shape() -> None:
    images, masks = frame_batch(0, 3, 6, crop_size=32)
    assert images.shape == (6, 3, 32, 32)
    assert masks.shape == (6, 1, 32, 32)
    assert (masks.flatten(1).sum(dim=1) > 80).all()  # of 133 and more whole


def test_frames_survive_the_way_to_tensors_and_back() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    tensor = images_to_tensor(frames)
    assert tensor.shape == (2, 3, 5, 4)
    assert np.array_equal(tensor_to_images(tensor), frames)


def test_min_snr_weights_by_hand() -> None:
    # SNR 9 (weight 5 / 9), SNR 1 (weight 1)
    weights = min_snr_weights(torch.tensor([0.9, 0.5]))
    assert weights.tolist() == pytest.approx([5 / 9, 1.0], rel=1e-5)


def test_noise_offset_is_shared_by_a_channel_of_a_clip() -> None:
    stream = torch.Generator().manual_seed(0)
    noise = draw_noise(torch.Size((64, 4, 8, 8, 8)), 0.5, stream)
    means = noise.mean(dim=(2, 3, 4))
    assert means.std().item() == pytest.approx(0.5, rel=0.15)
    within = (noise - means[:, :, None, None, None]).std().item()
    assert within == pytest.approx(1.0, rel=0.02)


def test_timesteps_cover_the_range_evenly() -> None:
    drawn = draw_evenly(10, torch.Generator().manual_seed(0))
    assert sorted((10 * drawn).long().tolist()) == list(range(10))


def test_schedule_is_zeroscopes() -> None:
    scheduler = make_scheduler("epsilon")
    assert scheduler.alphas_cumprod[0].item() == pytest.approx(1 - 0.00085, abs=1e-6)
    assert scheduler.alphas_cumprod[-1].item() == pytest.approx(0.00466, abs=1e-5)
    assert scheduler.config.steps_offset == 1
    assert not scheduler.config.set_alpha_to_one


def test_single_frame_is_a_resting_shape() -> None:
    frame = choose_frames(make_scene(motion="line"), np.asarray([1]))
    assert frame.motion == "still"
    assert frame.path.tolist() == [[21.0, 40.0]]
    assert frame.num_frames == 1


def test_every_clip_is_seen_once_an_epoch(tiny_config: PretrainConfig) -> None:
    from testbed.autoencoder import train_autoencoder

    train_autoencoder(tiny_config)
    encode_clips(tiny_config)
    assert load_clips(tiny_config).shape == (4, 8, 4, 8, 8)
    batches = ClipBatches(tiny_config, stage=1)
    epoch = batches._clip_indices(0) + batches._clip_indices(1)
    assert sorted(epoch) == [0, 1, 2, 3]
    latents_of_step, tokens = batches.draw(0)
    assert latents_of_step.shape == (2, 4, 8, 8, 8)
    assert tokens.shape == (2, 32)
    again, _ = ClipBatches(tiny_config, stage=1).draw(0)
    assert torch.equal(again, latents_of_step)


def test_attention_mask_ends_with_the_first_end_token() -> None:
    mask = attention_mask(torch.tensor([[5, 1, 9, 9], [5, 9, 9, 9]]), end_token=9)
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_probe_reads_what_is_there_and_nothing_else() -> None:
    torch.manual_seed(0)
    features = torch.randn(160, 8, 6)
    seen = features[..., :1] - 2 * features[..., 3:4]
    assert _probe_r2(features, seen) > 0.99
    assert _probe_r2(features, torch.randn(160, 8, 1)) < 0.1
