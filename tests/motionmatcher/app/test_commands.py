"""The page's fields become the commands that one would type."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from launching import PROJECT

from motionmatcher.app.commands import (
    BASE,
    TRAINED,
    TrainingForm,
    comparing_commands,
    generating_command,
    read_form_settings,
    resuming_command,
    texts_of,
)
from motionmatcher.config.loading import load_settings
from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.runs.run_folder import Run

CONFIG = PROJECT / "configs" / "moving_shapes_wan.yaml"
SPIRAL = PROJECT / "configs" / "moving_shapes_wan" / "config_spiral.yaml"
HOSTILE = '--seed=1 "quoted", ${oc.env:HOME}: \\ é [x] ../../etc'
FORM = TrainingForm(
    config=CONFIG,
    clip="clips/swing.mp4",
    clip_prompt="a red circle",
    prompts=["a star", "a square"],
    steps=6.0,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    settings = load_settings(SPIRAL, [f"output_dir={tmp_path}"])
    return Run.create(settings.output_dir, settings)


def test_a_training_is_what_one_would_type() -> None:
    command = FORM.command(Path("outputs/app/runs"))
    assert command.program == "train.py"
    assert command.arguments == (
        *("--config", str(CONFIG)),
        "train_data.single_video_path=clips/swing.mp4",
        "train_data.single_video_prompt=a red circle",
        'validation_data.prompt=["a star", "a square"]',
        "max_train_steps=6",
        "output_dir=outputs/app/runs/swing",
    )
    assert str(command).startswith("python train.py --config ")
    assert "'train_data.single_video_prompt=a red circle'" in str(command)


def test_of_settings_with_several_clips_the_form_s_is_trained_on(tmp_path: Path) -> None:
    clips = [{"path": "a.mp4", "prompt": "a star"}, {"path": "b.mp4", "prompt": "a square"}]
    config = tmp_path / "config.yaml"
    none = {"single_video_path": "", "single_video_prompt": "", "clips": clips}
    config.write_text(json.dumps({"base": str(CONFIG), "train_data": none}))
    assert read_form_settings(config).train_data.first.single_video_path == "a.mp4"
    command = replace(FORM, config=config).command(Path("out"))
    data = load_settings(config, command.arguments[2:]).train_data
    assert (data.single_video_path, data.clips) == ("clips/swing.mp4", [])


def test_other_settings_have_the_last_word() -> None:
    command = replace(FORM, overrides=["max_train_steps=9", "seed=3"]).command(Path("out"))
    settings = load_settings(CONFIG, command.arguments[2:])
    assert (settings.max_train_steps, settings.seed) == (9, 3)


def test_prompts_are_texts_whatever_they_hold() -> None:
    form = replace(FORM, clip_prompt=HOSTILE, prompts=[HOSTILE, "b"])
    settings = load_settings(CONFIG, form.command(Path("out")).arguments[2:])
    assert settings.train_data.single_video_prompt == HOSTILE
    assert settings.validation_data.prompt == [HOSTILE, "b"]
    assert settings.output_dir == "out/swing"


def test_no_prompt_of_previews_is_none() -> None:
    arguments = replace(FORM, prompts=[]).command(Path("out")).arguments
    assert load_settings(CONFIG, arguments[2:]).validation_data.prompt == []


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (replace(FORM, clip=None), "no clip: upload one, or choose settings that name one."),
        (replace(FORM, steps=None), "steps must be a whole number, not empty."),
        (replace(FORM, steps=1.5), "steps must be a whole number, not 1.5."),
        (replace(FORM, clip_prompt=" "), "train_data.single_video_prompt is blank"),
        (replace(FORM, overrides=["sed=1"]), "unknown key 'sed'. Did you mean 'seed'?"),
    ],
)
def test_a_wrong_field_is_refused_before_anything_starts(form: TrainingForm, message: str) -> None:
    with pytest.raises(UserError) as caught:
        form.command(Path("out"))
    assert message in str(caught.value)


def test_settings_are_read_with_their_clip_or_without() -> None:
    assert read_form_settings(CONFIG).train_data.single_video_path == "?"
    named = read_form_settings(SPIRAL).train_data
    assert named.single_video_path == "resources/reference_videos/spiral.mp4"
    with pytest.raises(UserError, match=r"unknown key 'train_data\.wdth'"):
        read_form_settings(SPIRAL, ["train_data.wdth=1"])


def test_a_run_goes_on_with_its_own_settings(run: Run) -> None:
    assert resuming_command(run, 150).arguments == ("--resume", str(run.folder))
    assert resuming_command(run, 200).arguments == (
        *("--resume", str(run.folder)),
        "max_train_steps=200",
    )


def test_generating_takes_each_prompt_as_one_word(run: Run, tmp_path: Path) -> None:
    command = generating_command(
        run,
        ["a star", HOSTILE],
        tmp_path / "v",
        checkpoint=4,
        noise_prior=0.3,
        seed=7,
        repeats=2,
    )
    assert command.program == "inference.py"
    assert command.arguments == (
        *("--checkpoint_folder", str(run.folder), "--prompt=a star", f"--prompt={HOSTILE}"),
        *("--checkpoint_index=4", "--noise_prior=0.3", "--seed=7", "--repeat_num=2"),
        *("--output_dir", str(tmp_path / "v" / "trained")),
    )


def test_generating_wants_a_prompt(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompt: say what the videos shall show"):
        generating_command(run, [], tmp_path, checkpoint=None, noise_prior=0, seed=0, repeats=1)


def write_manifest(folder: Path, *made: tuple[str, int]) -> None:
    videos = [{"file": f"{seed}.mp4", "prompt": prompt, "seed": seed} for prompt, seed in made]
    write_json(folder / "manifest.json", {"format": 1, "videos": videos})


def test_comparing_makes_the_bases_videos_of_the_same_seeds_then_scores(
    run: Run, tmp_path: Path
) -> None:
    made = [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    write_manifest(tmp_path / TRAINED, *made)
    base, scoring = comparing_commands(run, tmp_path)
    assert base.arguments == (
        *("--checkpoint_folder", str(run.folder), "--prompt=a", "--prompt=b"),
        *("--lora_scale=0", "--noise_prior=0", "--seed=5", "--repeat_num=2"),
        *("--output_dir", str(tmp_path / BASE)),
    )
    assert scoring.program == "motion_discrepancy.py"
    assert "--controls" in scoring.arguments
    where = scoring.arguments.index("--output_dir")
    assert scoring.arguments[where + 1 : where + 3] == (
        str(tmp_path / TRAINED),
        str(tmp_path / BASE),
    )
    write_manifest(tmp_path / BASE, *made)
    assert [command.program for command in comparing_commands(run, tmp_path)] == [
        "motion_discrepancy.py"
    ]


def test_comparing_wants_videos(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to compare yet: generate videos first"):
        comparing_commands(run, tmp_path)


def test_blank_lines_are_no_texts() -> None:
    assert texts_of("  a star \n\n \n$b\n") == ["a star", "$b"]
    assert texts_of(None) == []
