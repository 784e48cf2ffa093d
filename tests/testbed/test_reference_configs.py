"""Every reference clip has a config that trains as it is, on a base of the small one's size."""

import json
from pathlib import Path

import pytest
from launching import PROJECT

from motionmatcher.config.loading import load_settings
from motionmatcher.training.checks import check_training
from testbed.random_base import write_random_base
from testbed.reference_clips import REFERENCE_MOTIONS
from testbed.renderer import BACKGROUND_COLORS, BACKGROUND_STYLES, OBJECT_COLORS, SHAPES
from testbed.scenes import is_held_out

CONFIGS = PROJECT / "configs" / "moving_shapes"


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_base(tmp_path_factory.mktemp("base"), configs_only=True)


def test_configs_are_those_of_the_clips() -> None:
    names = {config.stem.removeprefix("config_") for config in CONFIGS.glob("*.yaml")}
    assert names == set(REFERENCE_MOTIONS)


@pytest.mark.parametrize("config", [*REFERENCE_MOTIONS, "demo"])
def test_config_passes_the_dry_run(config: str, small_base: Path) -> None:
    path = CONFIGS / f"config_{config}.yaml" if config != "demo" else PROJECT / "configs/demo.yaml"
    settings = load_settings(path, [f"pretrained_model_path={small_base}"])
    plan = check_training(settings, dry_run=True)
    assert set(plan.sizes.values()) == {(8, 8)}
    missing, *others = plan.notes
    assert missing == f"{small_base} has no weights yet for unet, vae, text_encoder."
    assert others == []


@pytest.mark.parametrize("name", REFERENCE_MOTIONS)
def test_preview_shows_another_subject_in_another_place(name: str) -> None:
    settings = load_settings(CONFIGS / f"config_{name}.yaml")
    assert settings.pretrained_model_path == "models/moving_shapes"
    data = settings.train_data
    assert data.single_video_path == f"resources/reference_videos/{name}.mp4"
    truth = json.loads(Path(data.single_video_path).with_suffix(".json").read_text())
    assert data.single_video_prompt == truth["prompt"]
    assert settings.output_dir.endswith(f"/{name}")

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
