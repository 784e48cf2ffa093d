"""What the demo measures, compares and says; its programs have tests of their own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import PROJECT
from PIL import Image

from experiments import demo
from motionmatcher.clips.video import write_mp4
from motionmatcher.config.loading import load_settings
from motionmatcher.errors import UserError
from motionmatcher.files import slug, write_json
from testbed.path_error import chance_distance
from testbed.reference_clips import ground_truth, reference_scene
from testbed.renderer import render
from testbed.scenes import NUM_FRAMES

CONFIG = demo.CONFIGS["unet"]
CLIP = PROJECT / "resources" / "reference_videos" / "there_and_back.mp4"


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo")


def test_models_differ_in_lora_and_noise_prior_alone() -> None:
    flags = demo.sampling_flags(load_settings(CONFIG, ["validation_data.noise_prior=0.4"]))
    assert tuple(flags) == demo.VARIANTS
    assert flags["base"] == ("--lora_scale", 0, "--noise_prior", 0)
    assert flags["noise_prior"] == ("--lora_scale", 0, "--noise_prior", 0.3)
    assert flags["trained"] == ("--noise_prior", 0.4)


@pytest.mark.parametrize(
    ("noise_prior", "trained"), [(0, "trained"), (0.4, "trained with noise prior")]
)
def test_titles_say_whether_the_trained_model_has_a_noise_prior(
    noise_prior: float, trained: str
) -> None:
    settings = load_settings(CONFIG, [f"validation_data.noise_prior={noise_prior}"])
    titles = {"base": "base", "noise_prior": "base with noise prior", "trained": trained}
    assert demo.variant_titles(settings) == titles


def test_truth_is_read_beside_the_clip() -> None:
    truth = demo.read_truth(CLIP, load_settings(CONFIG))
    assert truth.path.tolist() == ground_truth("there_and_back", NUM_FRAMES)["path"]


@pytest.mark.parametrize(
    ("clip", "override", "message"),
    [
        ("mine.mp4", "seed=1", r"mine\.mp4 has no ground truth mine\.json beside it"),
        (CLIP, "train_data.n_sample_frames=4", r"\(8, 64, 64\), not \(4, 64, 64\)"),
        (CLIP, "train_data.width=32", r"\(8, 64, 64\), not \(8, 32, 64\)"),
    ],
)
def test_clip_that_cannot_be_measured(clip: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        demo.read_truth(Path(clip), load_settings(CONFIG, [override]))


TITLES = {"base": "base", "noise_prior": "base with noise prior", "trained": "trained"}
ERRORS = {"base": [9.0, 11.0], "noise_prior": [8.0, 6.0], "trained": [3.0, 6.5]}


def test_comparison_by_hand() -> None:
    assert demo.compare_errors(ERRORS) == {
        "path_error_px": {"base": 10.0, "noise_prior": 7.0, "trained": 4.75},
        "num_videos": 2,
        "num_improved": 1,
        "trained_beats_noise_prior": True,
    }


def test_conclusion_says_who_won() -> None:
    numbers = (
        "Path error in pixels of 64, mean of 2 videos: base 10.0, base with noise prior 7.0, "
        "trained 4.8: "
    )
    won = "training beats the noise prior alone (nearer in 1 of 2)."
    assert demo.conclusion(ERRORS, TITLES) == numbers + won
    lost = ERRORS | {"trained": [8.0, 6.0]}
    assert "training does NOT beat the noise prior alone (nearer in 0 of 2)" in (
        demo.conclusion(lost, TITLES)
    )


def test_programs_run_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["demo"])
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys; print(sys.argv[1:], os.getpid()); sys.exit(sys.argv[2] != 'good')"
    )
    demo._program(script, "a b", "good")
    assert capsys.readouterr().out.splitlines() == [
        f'$ python {script} "a b" good',
        f"['a b', 'good'] {os.getpid()}",
    ]
    with pytest.raises(SystemExit) as ended:
        demo._program(script, "a b", "bad")
    assert ended.value.code == 1
    assert sys.argv == ["demo"]


def test_whole_demo_with_programs_that_only_leave_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    calls: list[list[str]] = []
    still = np.full((NUM_FRAMES, 64, 64, 3), 128, np.uint8)

    def leave_files(*words: object) -> None:
        call = [str(word) for word in words]
        calls.append(call)
        if call[0] == "train.py":
            write_json(Path(call[call.index("--json") + 1]), {"run": "runs/train_1"})
        if (
            call[0] == "inference.py"
        ):  # the trained model repeats the reference, others show nothing
            folder = Path(call[call.index("--output_dir") + 1])
            frames = (
                render(reference_scene("there_and_back", NUM_FRAMES))
                if folder.name == "trained"
                else still
            )
            write_videos(folder, frames)

    monkeypatch.setattr(demo, "_program", leave_files)
    values = tmp_path / "values.json"
    settings = ("pretrained_model_path=a_base", "max_train_steps=7")
    monkeypatch.setattr("sys.argv", ["demo", "--base", "unet", *settings, "--json", str(values)])
    demo.main()

    assert [call[0] for call in calls] == ["train.py", *["inference.py"] * 3]
    assert "max_train_steps=7" in calls[0]
    assert "pretrained_model_path=a_base" in calls[0]
    assert all(call[call.index("--checkpoint_folder") + 1] == "runs/train_1" for call in calls[1:])
    videos = tmp_path / "demo" / "videos" / "train_1"
    page = (videos / "report.html").read_text(encoding="utf-8")
    assert all(str(videos / name) in page for name in ("base", "noise_prior", "trained"))

    written = json.loads(values.read_text(encoding="utf-8"))
    errors = written["path_error_px"]
    truth = np.asarray(ground_truth("there_and_back", NUM_FRAMES)["path"])
    chance = float(chance_distance(truth).mean())
    assert errors["base"] == errors["noise_prior"] == sum([chance] * 3) / 3  # of three videos
    assert errors["trained"] < 0.5
    assert written["trained_beats_noise_prior"] is True
    with Image.open(videos / "contact_sheet.png") as sheet:
        # A row per prompt: the reference and three models, in pictures of three times the size.
        assert sheet.size == (4 + 4 * (3 * 64 + 4), 3 * (18 + 3 * 64 + 4))
    last_line = capsys.readouterr().out.strip().splitlines()[-1]
    assert last_line.endswith("training beats the noise prior alone (nearer in 3 of 3).")


def write_videos(folder: Path, frames: np.ndarray) -> None:
    """Leave one video per prompt and a manifest, as inference.py does."""
    entries: list[dict[str, Any]] = []
    for prompt in demo.PROMPTS:
        write_mp4(folder / f"{slug(prompt)}.mp4", frames, fps=8)
        made = {
            "prompt": prompt,
            "negative_prompt": "",
            "seed": 0,
            "checkpoint": "",
            "settings": {},
        }
        entries.append({"file": f"{slug(prompt)}.mp4", **made})
    write_json(folder / "manifest.json", {"format": 1, "videos": entries})
