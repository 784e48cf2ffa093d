"""Every reference clip has a config for each small base that trains as it is."""

import json
from pathlib import Path

import pytest
from launching import PROJECT

from motionmatcher.config.loading import load_settings
from motionmatcher.training.checks import check_training
from testbed.reference_clips import REFERENCE_MOTIONS
from testbed.renderer import BACKGROUND_COLORS, BACKGROUND_STYLES, OBJECT_COLORS, SHAPES
from testbed.scenes import is_held_out

BASES = ("moving_shapes", "moving_shapes_wan")
CONFIGS = PROJECT / "configs"


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.mark.parametrize("base", BASES)
def test_configs_are_those_of_the_clips(base: str) -> None:
    names = {config.stem.removeprefix("config_") for config in (CONFIGS / base).glob("*.yaml")}
    assert names == set(REFERENCE_MOTIONS)


@pytest.mark.parametrize(
    "config",
    [
        *(f"{base}/config_{motion}.yaml" for base in BASES for motion in REFERENCE_MOTIONS),
        "demo.yaml",
        "demo_unet.yaml",
    ],
)
def test_config_passes_the_dry_run(config: str) -> None:
    plan = check_training(load_settings(CONFIGS / config), dry_run=True)
    # The one clip that moves as fast as that: half the picture's width from frame to frame.
    fast = [note for note in plan.notes if "much moves by more than 33 % of the diagonal" in note]
    assert list(plan.notes) == fast
    assert len(fast) == ("figure_eight" in config)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", REFERENCE_MOTIONS)
def test_preview_shows_another_subject_in_another_place(name: str, base: str) -> None:
    settings = load_settings(CONFIGS / base / f"config_{name}.yaml")
    assert settings.pretrained_model_path == f"models/{base}"
    assert settings.output_dir == f"./outputs/{base}/{name}"
    data = settings.train_data
    assert data.single_video_path == f"resources/reference_videos/{name}.mp4"
    truth = json.loads(Path(data.single_video_path).with_suffix(".json").read_text())
    assert data.single_video_prompt == truth["prompt"]

    (prompt,) = settings.validation_data.prompt
    _, color, shape, on, _, style, background_color, background = prompt.split()
    assert (on, background) == ("on", "background")
    assert color in OBJECT_COLORS
    assert color != truth["color"]
    assert shape in SHAPES
    assert shape != truth["shape"]
    assert style in BACKGROUND_STYLES
    assert background_color in BACKGROUND_COLORS
    assert background_color != truth["background_color"]
    assert not is_held_out(color, shape, style, background_color)
