"""The VAE and the text encoder leave the device when their work is done."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.cost.meter import tensor_bytes
from testbed.random_base import FULL_SIZE, SMALL, write_random_base

pytestmark = pytest.mark.filterwarnings("default")
# What a process has on a GPU beside tensors of its own: workspaces of matrix products.
WORKSPACES = 100 * 2**20


def test_only_the_denoiser_stays(device: torch.device, tmp_path: Path) -> None:
    # On a GPU with the real VAE, of 335 MB: if it stayed, it would show.
    sizes = {**SMALL, "vae": FULL_SIZE["vae"]} if device.type == "cuda" else SMALL
    folder = write_random_base(tmp_path / "base", sizes)
    there_before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    base = load_base_model(find_base(str(folder)), device, prompts=["A star."])
    states = base.text.encode(["A star."])
    frames = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    latents = base.codec.encode(frames, torch.Generator().manual_seed(0))
    assert base.codec.decode(latents[0]).shape == (2, 32, 32, 3)
    assert states.device.type == latents.device.type == device.type
    text: Any = base.text
    for part in (text.encoder, base.codec.vae):
        assert {weight.device.type for weight in part.parameters()} == {"cpu"}
    assert {weight.device.type for weight in base.denoiser.parameters()} == {device.type}
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
    with torch.no_grad():
        prediction = base.denoiser.predict(latents, 500.0, states)
    assert prediction.shape == latents.shape
    if device.type == "cuda":
        taken = torch.cuda.max_memory_allocated(device) - there_before
        vae = tensor_bytes(base.codec.vae.parameters())
        assert taken < tensor_bytes(base.denoiser.parameters()) + WORKSPACES < vae
