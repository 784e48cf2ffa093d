"""A run is checked before weights are read: settings, clip, base, map sizes."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checks import TrainingPlan, check_training
from testbed.random_base import write_random_base


@pytest.fixture
def settings(run_values: dict[str, Any]) -> TrainSettings:
    return parse_settings(TrainSettings, run_values, "test")


def changed(settings: TrainSettings, **groups: Any) -> TrainSettings:
    """Change keys; those of a group are given as a dict."""
    for name, value in groups.items():
        if isinstance(value, dict):
            value = replace(getattr(settings, name), **value)
        settings = replace(settings, **{name: value})
    return settings


def check(settings: TrainSettings, run: Run | None = None, dry_run: bool = False) -> TrainingPlan:
    return check_training(settings, resume=(run, 2) if run else None, dry_run=dry_run)


def test_a_plan(settings: TrainSettings, base_folder: Path) -> None:
    plan = check(changed(settings, train_data={"width": 48, "height": 32}))
    assert plan.layout.folder == base_folder
    assert plan.sizes == {
        "latent_size": (4, 6),
        "cross_attention_map_size": (4, 6),
        "temporal_attention_map_size": (2, 3),
    }
    assert plan.objective.name == "feature_matching"
    assert plan.notes == ()


def test_open_sizes_are_settled(settings: TrainSettings) -> None:
    plan = check(changed(settings, seed=9))
    validation = plan.settings.validation_data
    assert (validation.width, validation.height, validation.num_frames) == (32, 32, 4)
    assert validation.seed == 9
    given = {"width": 40, "height": 48, "num_frames": 6, "seed": 0}
    validation = check(changed(settings, seed=9, validation_data=given)).settings.validation_data
    assert (validation.width, validation.height, validation.num_frames) == (40, 48, 6)
    assert validation.seed == 0


@pytest.mark.parametrize("resuming", [False, True])
def test_null_means_as_the_training_in_a_resumed_run_too(
    settings: TrainSettings, resuming: bool, tmp_path: Path
) -> None:
    unset = {"width": None, "height": None, "num_frames": None, "seed": None}
    plan = check(
        changed(settings, seed=9, validation_data=unset), run=Run(tmp_path) if resuming else None
    )
    validation = plan.settings.validation_data
    assert (validation.width, validation.height, validation.num_frames) == (32, 32, 4)
    assert validation.seed == 9


def test_bucketing_is_settled(settings: TrainSettings) -> None:
    # The clip is 80x64: 143.1 x 114.5 at the area of 128x128.
    bucketed = {"width": 128, "height": 128, "use_bucketing": True}
    plan = check(changed(settings, train_data=bucketed))
    data, validation = plan.settings.train_data, plan.settings.validation_data
    assert (data.width, data.height, data.use_bucketing) == (128, 128, False)

    bucketed = {"width": 256, "height": 128, "use_bucketing": True}  # 202.4 x 161.9
    plan = check(changed(settings, train_data=bucketed))
    data, validation = plan.settings.train_data, plan.settings.validation_data
    assert (data.width, data.height) == (192, 192)
    assert (validation.width, validation.height) == (192, 192), "the preview follows"
    assert plan.sizes["latent_size"] == (24, 24)

    preview = {"width": 64, "height": 40}
    plan = check(changed(settings, train_data=bucketed, validation_data=preview))
    validation = plan.settings.validation_data
    assert (validation.width, validation.height) == (64, 40), "a size of its own stays"


@pytest.fixture
def varying_clip(tmp_path: Path) -> str:
    """One second at 10 fps, then two at 2 fps."""
    frames = [Image.new("L", (32, 32), 15 * index) for index in range(14)]
    clip = tmp_path / "clip.gif"
    delays = [100] * 10 + [500] * 4
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=delays)
    return str(clip)


def test_a_clip_whose_rate_varies_is_taken_at_fps(
    settings: TrainSettings, varying_clip: str
) -> None:
    data = {"single_video_path": varying_clip, "fps": 4, "frame_step": 2, "n_sample_frames": 12}
    for dry_run in (False, True):
        plan = check(changed(settings, train_data=data), dry_run=dry_run)
        assert plan.notes[0] == (
            f"{varying_clip}: its frame rate varies: 24 frames are taken at even steps (8 fps) from the "
            "14 in the file."
        )
        # A dry run looks at the frames too: they get brighter, and nothing moves.
        assert any("hardly anything moves" in note for note in plan.notes) == dry_run
        assert len(plan.notes) == 1 or dry_run
    data["n_sample_frames"] = 13
    with pytest.raises(UserError, match=r"has 24 frames, but .* need 25"):
        check(changed(settings, train_data=data), dry_run=True)


def test_a_settled_plan_is_checked_again_without_the_clip(
    settings: TrainSettings, tmp_path: Path
) -> None:
    settled = check(settings).settings
    gone = changed(settled, train_data={"single_video_path": "gone.mp4"})
    assert check(gone, run=Run(tmp_path)).settings == gone
    with pytest.raises(UserError, match=r"gone\.mp4: there is no such video file"):
        check(gone)


def test_previews_of_the_same_prompt_are_noted(settings: TrainSettings) -> None:
    twice = {"prompt": ["A cat.", "A dog.", "A cat."]}
    (note,) = check(changed(settings, validation_data=twice)).notes
    assert note == 'the prompt "A cat." is given 2 times: its previews will be the same.'
    unseen = {**twice, "sample_preview": False}
    assert check(changed(settings, validation_data=unseen)).notes == ()


def test_other_frame_rates_are_noted(settings: TrainSettings, clip_path: Path) -> None:
    assert check(settings).notes == ()
    assert check(changed(settings, train_data={"frame_step": 2, "fps": 4})).notes == ()
    (note,) = check(changed(settings, train_data={"frame_step": 2})).notes
    assert note == (
        f"{clip_path} has 8 fps; with frame_step 2 that is 4, but previews will play at "
        "train_data.fps 8."
    )


@pytest.mark.parametrize(
    "change",
    [{"train_data": {"n_sample_frames": 13}}, {"validation_data": {"num_frames": 13}}],
    ids=["training", "preview"],
)
def test_a_clip_that_is_too_short(settings: TrainSettings, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"clip\.mp4 has 12 frames, but .* need 13"):
        check(changed(settings, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_data": {"width": 36}}, "width 36 must be a multiple of 8 pixels"),
        ({"validation_data": {"height": 36}}, "height 36 must be a multiple of 8 pixels"),
        (
            {"motion_extractor": {"spatial_scale_factor": 4}},
            r"motion_extractor\.spatial_scale_factor 4: .* there are 4x4 \(scale factor 1\), 2x2 ",
        ),
        (
            {"motion_extractor": {"temporal_scale_factor": 3}},
            r"motion_extractor\.temporal_scale_factor 3: no encoder layer has maps of 1/3",
        ),
        ({"min_timestep": 1000}, "min_timestep 1000 must be below the base's 1000 timesteps"),
        (
            {"validation_data": {"num_inference_steps": 1001}},
            "validation_data.num_inference_steps must be at most 999",
        ),
        ({"rescale_schedule": True}, "rescale_schedule wants a v-prediction base"),
        ({"lora_path": "nowhere"}, "lora_path: nowhere is not a folder"),
        ({"cached_latent_dir": "nowhere"}, "cached_latent_dir: nowhere is not a folder"),
        (
            {"pretrained_model_path": "models/none"},
            "models/none: there is no such base model folder",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    settings: TrainSettings, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check(changed(settings, **change))


def test_a_v_prediction_base_may_be_rescaled(
    settings: TrainSettings, base_folder: Path, tmp_path: Path
) -> None:
    folder = write_random_base(tmp_path / "base", prediction_type="v_prediction", configs_only=True)
    rescaled = changed(settings, pretrained_model_path=str(folder), rescale_schedule=True)
    assert check(rescaled, dry_run=True).settings.rescale_schedule


def test_a_prediction_type_nobody_knows(
    settings: TrainSettings, base_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"epsilon"', '"sample"'))
    message = "prediction_type must be of epsilon, v_prediction, not 'sample'"
    with pytest.raises(UserError, match=message):
        check(changed(settings, pretrained_model_path=str(folder)))


def test_missing_weights_are_a_note_of_a_dry_run_and_an_error_of_a_run(
    settings: TrainSettings, tmp_path: Path
) -> None:
    folder = write_random_base(tmp_path / "base", configs_only=True)
    without = changed(settings, pretrained_model_path=str(folder))
    assert check(without, dry_run=True).notes == (
        f"{folder} has no weights yet for unet, vae, text_encoder.",
    )
    with pytest.raises(UserError, match=f"^{folder} has no weights for unet, vae, text_encoder"):
        check(without)


def test_a_check_reads_no_weights_and_writes_nothing(
    settings: TrainSettings, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"no tensors")
    monkeypatch.setattr(BaseModel, "__init__", lambda *args: pytest.fail("a model was loaded"))
    before = sorted(tmp_path.rglob("*"))
    settings = changed(
        settings, pretrained_model_path=str(folder), output_dir=str(tmp_path / "outputs")
    )
    check(settings)
    assert sorted(tmp_path.rglob("*")) == before
