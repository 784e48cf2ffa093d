"""What all tests share: the golden folder, a small random base, a synthetic clip."""

import gc
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Set before torch is imported: with several workers on few cores, spinning threads cost a lot.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"  # bits depend on it: for the programs that tests start, too
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as the scripts do, for results equal to the bit
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from motionmatcher.clips.video import Frames, write_mp4

pytest_plugins = ["small_models"]

GOLDEN = Path(__file__).parent / "golden"


def pytest_configure() -> None:
    # All that is imported would be searched for garbage again and again, a tenth of the tests' time.
    gc.set_threshold(100_000, 50, 100)
    # A shell's background jobs ignore Ctrl-C, and so would every program that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, default=GOLDEN, help="folder of recorded numbers")
    parser.addoption("--kills", type=int, default=4, help="times a training is killed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")


@pytest.fixture(scope="session")
def golden_dir(pytestconfig: pytest.Config) -> Path:
    """The folder of numbers recorded from the published method."""
    return pytestconfig.getoption("--golden")


def moving_square(num_frames: int = 12, width: int = 80, height: int = 64) -> Frames:
    """A white square moving right over a red gradient: uint8 (F, H, W, 3)."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 200, width, dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[20:36, 4 * index : 4 * index + 16] = 255
    return frames


@pytest.fixture(scope="session")
def clip_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip file of 12 frames, 80x64 pixels, 8 fps."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_mp4(path, moving_square(), fps=8)
    return path


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small base model with random weights on disk, in Zeroscope's layout."""
    from testbed.random_base import write_random_base

    return write_random_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A still smaller one, of one level, for what trains or samples many times."""
    from small_models import write_tiny_base

    return write_tiny_base(tmp_path_factory.mktemp("tiny_base"))


@pytest.fixture(scope="session")
def animatediff_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small base model with random weights on disk, in AnimateDiff's layout."""
    from testbed.random_base import write_random_animatediff

    return write_random_animatediff(tmp_path_factory.mktemp("animatediff"))


@pytest.fixture(scope="session")
def stable_diffusion_folders(
    animatediff_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The same base as a Stable Diffusion and a motion adapter, each in a folder of its own."""
    from small_models import split_animatediff

    return split_animatediff(animatediff_folder, tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="session")
def run_values(base_folder: Path, clip_path: Path) -> dict[str, Any]:
    """Settings of a training run that takes seconds, as YAML holds them."""
    return {
        "pretrained_model_path": str(base_folder),
        "train_data": {
            "single_video_path": str(clip_path),
            "single_video_prompt": "A square moves.",
            "width": 32,
            "height": 32,
            "n_sample_frames": 4,
        },
        "validation_data": {"prompt": "A circle moves.", "num_inference_steps": 4},
        "motion_extractor": {"spatial_scale_factor": 1, "temporal_scale_factor": 2},
        "lora_rank": 2,
        "adam_epsilon": 1e-16,
        "max_train_steps": 4,
        "checkpointing_steps": 2,
        "validation_steps": 4,
        "mixed_precision": "no",
    }


@pytest.fixture(scope="session")
def quick_values(run_values: dict[str, Any], tiny_base: Path) -> dict[str, Any]:
    """The same on the smallest base: for tests that are not about the network."""
    factors = {"spatial_scale_factor": 1, "temporal_scale_factor": 1}
    return {**run_values, "pretrained_model_path": str(tiny_base), "motion_extractor": factors}
