"""The choice beside the renderer's truth, on videos whose path is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.choose.validation import validate
from motionmatcher.clips.video import write_mp4
from motionmatcher.config.loading import load_settings, with_preview_defaults, write_settings
from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.paths import PROJECT
from testbed.path_error import chance_distance
from testbed.reference_clips import ground_truth, reference_scene
from testbed.renderer import render
from testbed.scenes import NUM_FRAMES

MOTION = "there_and_back"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run for which two settings were tried: the reference again, and nothing at all."""
    settings = load_settings(PROJECT / f"configs/moving_shapes/config_{MOTION}.yaml")
    write_settings(tmp_path / "config.yaml", with_preview_defaults(settings))
    (tmp_path / "checkpoint-2").mkdir()
    videos = {
        "again": render(reference_scene(MOTION, NUM_FRAMES)),
        "nothing": np.full((NUM_FRAMES, 64, 64, 3), 128, np.uint8),
    }
    for name, frames in videos.items():
        write_mp4(tmp_path / f"choose/{name}.mp4", frames, fps=8)
    return tmp_path


def results(chosen_prior: float | None) -> dict[str, Any]:
    """What was found: nothing moves at noise prior 0, and the reference comes again at 0.5."""

    def trial(prior: float, name: str, distance: float) -> dict[str, Any]:
        return {
            "checkpoint": 2,
            "noise_prior": prior,
            "lora_scale": 1.0,
            "mean": {"motion_discrepancy": {"mean": distance}},
            "videos": [{"file": f"{name}.mp4"}],
        }

    chosen = {"checkpoint": 2, "noise_prior": chosen_prior, "lora_scale": 1.0}
    return {
        "chosen": None if chosen_prior is None else chosen,
        "motion": "motion_discrepancy",
        "base": trial(0.0, "nothing", 0.9),
        "trials": [trial(0.0, "nothing", 0.8), trial(0.5, "again", 0.1)],
    }


def test_a_choice_beside_the_best_of_its_grid(run_folder: Path) -> None:
    write_json(run_folder / "choose/results.json", results(0.0))
    found = validate(run_folder)
    truth = np.asarray(ground_truth(MOTION, NUM_FRAMES)["path"])
    chance = float(chance_distance(truth).mean())
    assert found.motion == MOTION
    assert found.chosen == "checkpoint 2, noise prior 0, LoRA scale 1"
    assert found.best == "checkpoint 2, noise prior 0.5, LoRA scale 1"
    assert found.errors[found.chosen] == pytest.approx(chance)
    assert found.errors[found.best] < 0.5
    assert found.base == pytest.approx(chance)
    assert found.ratio == found.errors[found.chosen] / found.errors[found.best]
    assert found.rank == 2
    assert found.correlation == pytest.approx(1)

    write_json(run_folder / "choose/results.json", results(0.5))
    assert (validate(run_folder).ratio, validate(run_folder).rank) == (1, 1)


def test_without_a_choice_there_is_nothing_to_compare(run_folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"results\.json: there is no such file\..*experiments\.choose"
    ):
        validate(run_folder)
    write_json(run_folder / "choose/results.json", results(None))
    with pytest.raises(UserError, match="no setting was recommended"):
        validate(run_folder)
