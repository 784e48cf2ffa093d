"""The image autoencoder of Moving Shapes: 64x64 pixels to 4x8x8 latents of unit variance.

The latents are standardised channel by channel during training and get noise before decoding,
for what a diffusion model makes is never exact. The standardisation is folded into `quant_conv` at
the end, so that what ships is an ordinary `AutoencoderKL`. Most steps see
only the surroundings of the shape, which cost a quarter of a frame and hold what is hard in it.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from motionmatcher.random_streams import generator
from testbed.config import AutoencoderConfig, PretrainConfig
from testbed.renderer import FRAME_SIZE, render_frame
from testbed.scenes import sample_scene, scene_stream
from testbed.stage import StageState, cosine_schedule, read_averaged_weights, run_stage

LATENT_CHANNELS = 4
STATISTICS_MOMENTUM = 0.01
# The posterior's logarithm of the variance: sampling it gives the mean.
CERTAIN_LOGVAR = -30.0
_EPSILON = 1e-6
STANDARD_VARIANCE = 1 - _EPSILON  # with which nothing is left to standardise


class StandardisedAutoencoder(nn.Module):
    """An `AutoencoderKL` whose latents are standardised by their running statistics.

    Args:
        config: Its sizes.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        levels = len(config.block_out_channels)
        self.vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.block_out_channels,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=config.norm_num_groups,
            sample_size=FRAME_SIZE,
            scaling_factor=1.0,
        )
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("variance", torch.ones(LATENT_CHANNELS))

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Reconstruct images through noisy latents, standardised by the batch.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            noise: (B, 4, h, w), added to the standardised latents.

        Returns:
            The (B, 3, H, W) reconstructions.
        """
        moments = self.vae.quant_conv(self.vae.encoder(images))  # (B, 8, h, w)
        latents = moments[:, :LATENT_CHANNELS]
        variance, mean = torch.var_mean(latents, dim=(0, 2, 3))  # (4,) each
        with torch.no_grad():
            self.mean.lerp_(mean, STATISTICS_MOMENTUM)
            self.variance.lerp_(variance, STATISTICS_MOMENTUM)
        latents = (latents - mean[:, None, None]) / torch.sqrt(variance + _EPSILON)[:, None, None]
        reconstruction: Tensor = self.vae.decoder(self.vae.post_quant_conv(latents + noise))
        return reconstruction

    @torch.no_grad()
    def folded(self) -> AutoencoderKL:
        """Fold the standardisation into `quant_conv`; `post_quant_conv` was trained behind it.

        Returns:
            An ordinary autoencoder, in eval mode, whose latents have mean 0 and variance 1. This
            module must not be used afterwards.
        """
        quant = self.vae.quant_conv
        deviation = torch.sqrt(self.variance + _EPSILON)
        quant.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
        quant.bias[:LATENT_CHANNELS] -= self.mean
        quant.bias[:LATENT_CHANNELS] /= deviation
        quant.weight[LATENT_CHANNELS:] = 0.0
        quant.bias[LATENT_CHANNELS:] = CERTAIN_LOGVAR
        return self.vae.eval().requires_grad_(False)


def images_to_tensor(images: np.ndarray) -> Tensor:
    """Turn uint8 (…, H, W, 3) frames into fp32 (…, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).movedim(-1, -3).float() / 127.5 - 1.0


def tensor_to_images(images: Tensor) -> np.ndarray:
    """Turn (…, 3, H, W) in [-1, 1] into uint8 (…, H, W, 3) frames."""
    levels = ((images.float() + 1.0) * 127.5).round().clamp(0, 255)
    array: np.ndarray = levels.to(torch.uint8).movedim(-3, -1).numpy()
    return array


def frame_batch(
    seed: int, step: int, batch_size: int, crop_size: int = FRAME_SIZE
) -> tuple[Tensor, Tensor]:
    """Draw the single frames of one training step.

    Args:
        seed: Fixes the data.
        step: Number of the step.
        batch_size: Frames B.
        crop_size: Pixels S of the square that is cut out of each frame, with the centre of the
            shape somewhere in the middle half of it, as far as the frame allows.

    Returns:
        The (B, 3, S, S) frames in [-1, 1] and the (B, 1, S, S) coverage of the shape.
    """
    images, masks = [], []
    for index in range(step * batch_size, (step + 1) * batch_size):
        rng = scene_stream(seed, "train", index)
        scene = sample_scene(rng, "train")
        frame = int(rng.integers(scene.num_frames))
        image, mask = render_frame(scene, frame)
        corner = scene.path[frame] - crop_size * rng.uniform(0.25, 0.75, 2)  # (x, y)
        left, top = np.clip(np.rint(corner).astype(int), 0, FRAME_SIZE - crop_size)
        window = (slice(top, top + crop_size), slice(left, left + crop_size))
        images.append(image[window])
        masks.append(mask[window])
    return images_to_tensor(np.stack(images)), torch.from_numpy(np.stack(masks))[:, None]


def loss_weights(masks: Tensor, object_weight: float, edge_weight: float) -> Tensor:
    """Weigh pixels: 1 on the background, more on the shape, most along its edge.

    Args:
        masks: (B, 1, H, W) coverage of the shape.
        object_weight: Extra weight on the shape.
        edge_weight: Extra weight within about a pixel of its edge.

    Returns:
        The (B, 1, H, W) weights.
    """
    grown = F.max_pool2d(masks, 3, 1, 1)
    shrunk = -F.max_pool2d(-masks, 3, 1, 1)
    return 1.0 + object_weight * grown + edge_weight * (grown - shrunk)


def train_autoencoder(config: PretrainConfig, stop_after: int | None = None) -> bool:
    """Train the autoencoder, or go on with it; returns True when it is complete."""
    settings, seed = config.autoencoder, config.seed
    assert settings is not None
    torch.manual_seed(seed)
    model = StandardisedAutoencoder(settings)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=1e-3,
        betas=(0.9, 0.99),
        fused=True,
    )
    scale = 2 ** (len(settings.block_out_channels) - 1)

    def compute_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step < settings.num_crop_steps:
            images, masks = frame_batch(seed, step, settings.crop_batch_size, settings.crop_size)
        else:
            images, masks = frame_batch(seed, step, settings.batch_size)
        stream = generator(seed, "autoencoder", step)
        size = images.shape[-1] // scale
        shape = (len(images), LATENT_CHANNELS, size, size)
        deviation = settings.latent_noise * torch.rand(len(images), 1, 1, 1, generator=stream)
        reconstruction = model(images, deviation * torch.randn(shape, generator=stream))
        error = reconstruction - images
        weights = loss_weights(masks, settings.object_weight, settings.edge_weight)
        loss = (weights * error.abs()).sum() / (3 * weights.sum())
        mse = error.detach().square().mean()  # of values in [-1, 1]
        return loss, {"psnr_db": float(10 * torch.log10(4 / mse))}

    return run_stage(
        "autoencoder",
        StageState(model, optimizer, ema_decay=0.999),
        settings.num_steps,
        compute_loss,
        lambda step: cosine_schedule(step, settings.num_steps, warmup=200),
        autoencoder_state_path(config),
        config.checkpoint_minutes,
        stop_after,
    )


def autoencoder_state_path(config: PretrainConfig) -> Path:
    """Where the autoencoder's training state is."""
    return config.state_dir / "autoencoder.safetensors"


def load_autoencoder(config: PretrainConfig) -> AutoencoderKL:
    """Load the averaged autoencoder as an ordinary `AutoencoderKL` with unit-variance latents."""
    if config.autoencoder is None:
        loaded = AutoencoderKL.from_pretrained(config.autoencoder_dir)
        # What is loaded by diffusers has its folder in its config, and would be exported with it.
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(config.autoencoder_dir))
        vae.load_state_dict(loaded.state_dict())
        return vae.eval().requires_grad_(False)
    model = StandardisedAutoencoder(config.autoencoder)
    weights, _ = read_averaged_weights(autoencoder_state_path(config))
    model.load_state_dict(weights)
    return model.folded()
