"""A small UNet with and without a LoRA, in double precision."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from motionmatcher.bases.lora import add_lora
from motionmatcher.bases.unet3d import MotionUNet


@pytest.fixture(scope="module")
def bare(base_folder: Path) -> MotionUNet:
    return MotionUNet.from_pretrained(base_folder, subfolder="unet").double().eval()


@pytest.fixture(scope="module")
def unet(bare: MotionUNet) -> MotionUNet:
    unet = deepcopy(bare)
    add_lora(unet, 2, ["attention"])
    generator = torch.Generator().manual_seed(0)
    for weight in unet.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.2
    return unet
