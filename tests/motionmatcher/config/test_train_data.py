"""Several clips in the settings: what each reads, and what is refused, by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from motionmatcher.config.loading import check_settings, load_settings, write_settings
from motionmatcher.config.train_data import ClipData, TrainData
from motionmatcher.errors import UserError

RED, BLUE = {"path": "red.mp4", "prompt": "a red circle"}, {"path": "b.mp4", "prompt": "a star"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def written(config: Path, **train_data: Any) -> Path:
    config.write_text(json.dumps({"pretrained_model_path": "m", "train_data": train_data}))
    return config


def test_each_clip_is_as_if_it_were_the_only_one(config: Path) -> None:
    clips = [RED, {**BLUE, "sample_start_idx": 7}]
    data = load_settings(written(config, clips=clips, width=64, frame_step=2)).train_data
    common: dict[str, Any] = {"width": 64, "frame_step": 2}
    assert data.each == (
        TrainData(single_video_path="red.mp4", single_video_prompt="a red circle", **common),
        TrainData(
            single_video_path="b.mp4", single_video_prompt="a star", sample_start_idx=7, **common
        ),
    )
    assert data.first == data.each[0]
    assert data.prompts == ["a red circle", "a star"]
    alone = data.each[1]
    assert alone.each == (alone,)
    assert alone.prompts == ["a star"]


@pytest.mark.parametrize(
    ("shared", "own", "read"),
    [
        # start index, step, start, duration
        ({"start_s": 1, "duration_s": 2}, {}, (0, 1, 1.0, 2.0)),
        ({"start_s": 1, "duration_s": 2}, {"start_s": 0}, (0, 1, 0.0, 2.0)),
        ({"start_s": 1, "duration_s": 2}, {"sample_start_idx": 0}, (0, 1, None, None)),
        ({"start_s": 1, "duration_s": 2}, {"frame_step": 3}, (0, 3, None, None)),
        ({"sample_start_idx": 4, "frame_step": 3}, {"duration_s": 2}, (0, 1, None, 2.0)),
        ({"sample_start_idx": 4, "frame_step": 3}, {"frame_step": 1}, (4, 1, None, None)),
    ],
)
def test_a_clip_s_own_way_of_choosing_frames_goes_before_the_shared_one(
    config: Path, shared: dict[str, Any], own: dict[str, Any], read: tuple[Any, ...]
) -> None:
    data = load_settings(written(config, clips=[{**RED, **own}], **shared)).train_data.first
    assert (data.sample_start_idx, data.frame_step, data.start_s, data.duration_s) == read


def test_several_clips_come_back_as_they_were_written(config: Path, tmp_path: Path) -> None:
    settings = load_settings(written(config, clips=[RED, {**BLUE, "start_s": 0.5}]))
    write_settings(tmp_path / "again.yaml", settings)
    assert load_settings(tmp_path / "again.yaml") == settings
    assert check_settings(settings) == settings
    assert settings.train_data.clips[1] == ClipData(path="b.mp4", prompt="a star", start_s=0.5)


def test_several_clips_over_a_base_with_one(config: Path, tmp_path: Path) -> None:
    written(config, single_video_path="red.mp4", single_video_prompt="a circle", width=64)
    none = {"single_video_path": "", "single_video_prompt": ""}
    above = {"base": config.name, "train_data": {**none, "clips": [BLUE]}}
    (tmp_path / "above.yaml").write_text(json.dumps(above))
    assert [data.width for data in load_settings(tmp_path / "above.yaml").train_data.each] == [64]
    empty = ["train_data.single_video_path=", "train_data.single_video_prompt="]
    settings = load_settings(config, [*empty, f"train_data.clips={json.dumps([RED, BLUE])}"])
    assert settings.train_data.prompts == ["a red circle", "a star"]


def test_null_takes_back_several_clips_of_a_base(config: Path, tmp_path: Path) -> None:
    written(config, clips=[RED, BLUE])
    one = {"single_video_path": "a.mp4", "single_video_prompt": "A.", "clips": None}
    above = tmp_path / "above.yaml"
    above.write_text(json.dumps({"base": config.name, "train_data": one}))
    assert load_settings(above).train_data.prompts == ["A."]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"single_video_path": "a.mp4", "single_video_prompt": "A.", "clips": [RED]},
            "train_data has clips and a single clip (single_video_path, single_video_prompt): leave out one "
            'of them; "" leaves out a single clip that a base names.',
        ),
        ({"single_video_prompt": "A.", "clips": [RED]}, "train_data has clips and a single clip"),
        (
            {"clips": []},
            "config.yaml: train_data.clips is empty: list one or more, or give train_data.single_video_path",
        ),
        ({"clips": [RED, {"path": "a"}]}, "train_data.clips[1].prompt is missing (what it shows)."),
        ({"clips": [{"prompt": "a"}]}, "train_data.clips[0].path is missing (the clip: mp4"),
        ({"clips": [{**RED, "prompt": " "}]}, "train_data.clips[0].prompt is blank (what it"),
        (
            {"clips": [{**RED, "durations": 2}]},
            "unknown key 'train_data.clips[0].durations'. Did you mean 'duration_s'?",
        ),
        ({"clips": RED}, "train_data.clips must be a list, not "),
        ({"clips": ["a.mp4"]}, "train_data.clips[0] must be a group of keys, not 'a.mp4'."),
        ({"clips": [{**RED, "frame_step": 0}]}, "train_data.clips[0].frame_step must be"),
        (
            {"clips": [RED, {**BLUE, "frame_step": 2, "start_s": 1}]},
            "train_data.clips[1] chooses frames by index (sample_start_idx 0, frame_step 2) and by time",
        ),
        (
            {"clips": [RED], "frame_step": 2, "start_s": 1},
            "train_data chooses frames by index (sample_start_idx 0, frame_step 2) and by time",
        ),
        ({"single_video_path": "a.mp4"}, "train_data.single_video_prompt is missing (what"),
    ],
)
def test_what_is_refused(config: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_settings(written(config, **data))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
