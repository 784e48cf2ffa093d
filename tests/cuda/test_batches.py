"""A video is the same alone and among others."""

import pytest
import torch
from golden_case import relative_error

from benchmarks.cases import Case, WanCase
from motionmatcher.devices import weight_dtype
from motionmatcher.diffusion.sampling import SamplingSettings, denoise_with_gate
from motionmatcher.random_streams import video_noise

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize(
    ("case", "most"),
    [
        (Case("tiny", 3, 16, precision="no"), 1e-4),
        (Case("tiny", 3, 16, precision="fp16"), 0.05),
        (WanCase("tiny", 5, (8, 12)), 0.05),
    ],
    ids=["fp32", "fp16", "wan, bf16"],
)
def test_sampling_does_not_depend_on_the_batch(
    case: Case, most: float, device: torch.device
) -> None:
    step = case.real(device, weight_dtype(case.precision, device))
    step.base.denoiser.eval()
    settings = SamplingSettings(
        num_frames=case.frames,
        width=8 * case.latent_size[1],
        height=8 * case.latent_size[0],
        num_inference_steps=4,
        guidance_scale=3.0,
        lora_scale=1.0,
        noise_prior=0.0,
        min_timestep=500,
    )
    text = step.batch.text_states
    negative = torch.zeros_like(text)

    def sample(*seeds: int) -> torch.Tensor:
        noise = video_noise(seeds, case.latent_shape).to(device)
        return denoise_with_gate(
            step.base, noise, text.expand(len(seeds), -1, -1), negative, settings
        )

    together = sample(3, 4, 5)
    assert relative_error(together[0], together[1]) > 0.1
    for seed, video in zip((3, 4, 5), together, strict=True):
        assert relative_error(sample(seed)[0], video) < most
