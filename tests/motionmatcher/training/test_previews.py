"""Previews are videos with prompt and seed in their names, and one contact sheet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.clips.contact_sheet import contact_sheet
from motionmatcher.clips.video import write_mp4
from motionmatcher.diffusion.sampling import SamplingSettings, sample_latents
from motionmatcher.training.previews import Previewer

SETTINGS = SamplingSettings(
    num_frames=2,
    width=32,
    height=16,
    num_inference_steps=1,
    guidance_scale=1,
    lora_scale=1,
    noise_prior=0,
    min_timestep=500,
)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return load_base_model(find_base(str(tiny_base)), torch.device("cpu"))


def previewer(base: BaseModel, *prompts: str) -> Previewer:
    return Previewer(
        base=base,
        prompts=prompts,
        text_states=base.text.encode(prompts),
        negative_states=base.text.encode([""]),
        seed=3,
        settings=SETTINGS,
        inversion_noise=None,
        references={"reference": np.full((2, 16, 32, 3), 200, np.uint8)},
        fps=5,
    )


def test_names_content_and_sheet(base: BaseModel, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "samples"
    makes = previewer(base, "A cat.", "A dog!")
    assert makes.write(folder, step=50)
    sheet = makes.sheet(folder, 50)
    assert sheet == folder / "step-00050.png"
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-00050.png",
        "step-00050_a-cat_3.mp4",
        "step-00050_a-dog_3.mp4",
    ]
    latents = sample_latents(
        base, makes.text_states[1:], makes.negative_states, [3], SETTINGS, None
    )
    expected = base.codec.decode(latents[0])
    write_mp4(tmp_path / "expected.mp4", expected, fps=5)
    written = (folder / "step-00050_a-dog_3.mp4").read_bytes()
    assert written == (tmp_path / "expected.mp4").read_bytes()
    shown = np.asarray(Image.open(sheet))
    clips = [makes.references["reference"], expected, expected]
    labels = ["reference", "step 50: A cat.", "step 50: A dog!"]
    wanted = contact_sheet(clips, labels)
    row = len(wanted) // 3
    assert np.array_equal(shown[:row], wanted[:row]), "the reference stands first"
    assert np.array_equal(shown[2 * row :], wanted[2 * row :])


def test_the_same_step_gives_the_same_files(base: BaseModel, tmp_path: Path) -> None:
    for name in "ab":
        torch.manual_seed(ord(name))
        previewer(base, "A cat.").write(tmp_path / name, 1)
    one, other = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert [path.name for path in one] == [path.name for path in other]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("prompt", ["../../etc/passwd", "/etc/passwd", "..", "a\0b", "x" * 500])
def test_a_prompt_never_leaves_the_folder(base: BaseModel, tmp_path: Path, prompt: str) -> None:
    folder = tmp_path / "deep" / "samples"
    previewer(base, prompt).write(folder, 0)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2
    assert {path.parent for path in written} == {folder}


def test_sampling_draws_nothing_from_the_global_stream(base: BaseModel, tmp_path: Path) -> None:
    makes = previewer(base, "A cat.")
    before = torch.get_rng_state()
    makes.write(tmp_path, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_interrupted_preview_is_given_up(base: BaseModel, tmp_path: Path) -> None:
    makes = previewer(base, "A cat.", "A dog.")
    asked: list[None] = []

    def interrupted() -> bool:
        asked.append(None)
        return len(asked) == 2  # within the second prompt, of one sampling step each

    assert not makes.write(tmp_path, 0, interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000_a-cat_3.mp4"]
