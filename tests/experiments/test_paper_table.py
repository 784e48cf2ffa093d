"""The benchmark: a table of motions, made once, resumed, shared by processes, with failures."""

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import PROJECT, run_program_here, run_script, write_config
from processes import Replace, launch

from experiments.jobs.processes import run_program
from experiments.paper_table import __main__ as benchmark
from experiments.paper_table.motions import (
    Series,
    Take,
    as_series,
    names_no_clip,
    plan_motions,
    read_trained_frames,
)
from motionmatcher.clips.video import write_mp4
from motionmatcher.config.settings import TrainData
from motionmatcher.errors import UserError

OVERRIDES = ["max_train_steps=2", "checkpointing_steps=1", "validation_data.sample_preview=false"]
OPTIONS = ["--device", "cpu", "--repeat_num", 2, "--tracker", "flow", "--grid_size", 4]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> list[Path]:
    """Two motions, and one whose training goes wrong."""
    folder = tmp_path_factory.mktemp("configs")
    damaged = shutil.copytree(quick_values["pretrained_model_path"], folder / "base")
    (damaged / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no tensors")
    circle = {"prompt": "A circle moves.", "num_inference_steps": 2}
    star = {"prompt": ["A <star> moves."], "num_inference_steps": 2, "seed": 5}
    changes: dict[str, dict[str, Any]] = {
        "config_circle.yaml": {"validation_data": circle},
        "star.yaml": {"validation_data": star},
        "damaged.yaml": {"validation_data": circle, "pretrained_model_path": str(damaged)},
    }
    return [
        write_config(folder / name, {**quick_values, **change}) for name, change in changes.items()
    ]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, clip_folder: Path, configs: list[Path], tmp_path: Path
) -> Callable[..., int]:
    """Run the command on the two sound motions and give its exit code."""
    monkeypatch.setattr("evaluation.scorers.EVALUATION_DIR", tmp_path)

    def run(output_dir: Path, *arguments: object) -> int:
        given = ["--configs", *configs[:2], *OVERRIDES, *OPTIONS, "--clip_model", clip_folder]
        given += ["--imagereward_ckpt", benchmark.make_parser().get_default("imagereward_ckpt")]
        return run_script(
            monkeypatch, benchmark.main, *given, "--output_dir", output_dir, *arguments
        )

    return run


def run_here(
    script: Path, arguments: Sequence[str], environment: Mapping[str, str], log: Path, show: bool
) -> None:
    """Run a program where all is imported already; what fails is run as it is."""
    run = run_program if "damaged" in log.parts else run_program_here
    run(script, arguments, environment, log, show)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, configs: list[Path], clip_folder: Path
) -> tuple[Path, int, str]:
    """One benchmark of all three motions: its folder, exit code and output."""
    folder = tmp_path_factory.mktemp("benchmark")
    given = ["--configs", *configs, *OPTIONS, "--clip_model", clip_folder]
    given += ["--output_dir", folder, "--json", folder / "scores.json", *OVERRIDES]
    with pytest.MonkeyPatch.context() as patch, (folder / "output.txt").open("w") as output:
        patch.setattr(sys, "stdout", output)
        patch.setattr("experiments.jobs.processes.run_program", run_here)
        code = run_script(patch, benchmark.main, *given)
    return folder, code, (folder / "output.txt").read_text()


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "experiments.jobs.processes.run_program", lambda *given: pytest.fail(str(given))
    )


def table_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table(made: tuple[Path, int, str]) -> None:
    folder, _, _ = made
    rows = table_rows(folder)
    assert [(row["motion"], row["n"]) for row in rows] == [
        ("circle", "2"),
        ("star", "2"),
        ("all motions", "4"),
    ]
    assert {row["tracker"] for row in rows} == {"flow"}
    assert "image_reward" not in rows[0]
    for name in ("clip_t", "frame_consistency", "motion_discrepancy"):
        circle, star, total = (float(row[name]) for row in rows)
        assert total == pytest.approx((circle + star) / 2)
        assert all(float(row[f"{name}_low"]) <= float(row[name]) for row in rows)
        assert circle != star

    lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| Motion | n | CLIP-T ↑ | T. Cons. ↑ | Motion discrepancy ↓ |"
    low, mean, high = (float(rows[0][f"clip_t{part}"]) for part in ("_low", "", "_high"))
    assert lines[2].startswith(f"| circle | 2 | {mean:.4f} [{low:.4f}, {high:.4f}] | ")
    assert lines[4].startswith("| **all motions** | 4 | ")


def test_the_scores_are_those_of_the_scripts(
    made: tuple[Path, int, str], clip_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import clip_scores

    (videos,) = made[0].glob("star/train_*/videos")
    scores = tmp_path / "scores.json"
    given = ["--output_dir", videos, "--clip_model", clip_folder, "--json", scores]
    assert run_script(monkeypatch, clip_scores.main, *given) == 0
    (scored,) = json.loads(scores.read_text())["folders"]
    star = table_rows(made[0])[1]
    for name in ("clip_t", "frame_consistency"):
        assert float(star[name]) == pytest.approx(scored["mean"][name]["mean"], abs=1e-6)


def test_a_failed_motion_stops_no_other(made: tuple[Path, int, str]) -> None:
    folder, code, output = made
    assert code == 1
    reason = "train.py failed: the weights in "
    assert f"damaged: {reason}" in output
    assert f"- Not in the table: damaged: {reason}" in (folder / "table.md").read_text()
    assert reason in json.loads((folder / "scores.json").read_text())["failed"]["damaged"]
    assert "unet are damaged" in (folder / "damaged" / "log.txt").read_text()


def test_a_missing_scorer_leaves_its_column_out_and_says_so(made: tuple[Path, int, str]) -> None:
    folder, _, output = made
    assert "left out: ImageReward: " in output
    assert "- Left out: ImageReward: " in (folder / "table.md").read_text()


def test_the_videos_are_the_configs_own(made: tuple[Path, int, str]) -> None:
    (manifest,) = made[0].glob("star/train_*/videos/manifest.json")
    videos = json.loads(manifest.read_text())["videos"]
    assert [(video["prompt"], video["seed"]) for video in videos] == [
        ("A <star> moves.", 5),
        ("A <star> moves.", 6),
    ]
    assert {Path(video["checkpoint"]).name for video in videos} == {"checkpoint-2"}


def test_the_page_is_self_contained_and_escaped(made: tuple[Path, int, str]) -> None:
    page = (made[0] / "table.html").read_text(encoding="utf-8")
    assert "A &lt;star&gt; moves." in page
    assert "<star>" not in page
    assert page.count("<video ") == 2 * (1 + 2)
    assert "http://" not in page.replace("http-equiv", "")
    assert "https://" not in page
    for link in re.findall(r'<a href="([^"]+)"', page):
        assert (made[0] / link).is_file()
    assert page.count("<a href=") == 2


def test_a_second_call_makes_nothing_and_gives_the_same_table(
    made: tuple[Path, int, str], call: Callable[..., int], tmp_path: Path, nothing_runs: None
) -> None:
    again = tmp_path / "again"
    for name in ("circle", "star"):
        shutil.copytree(made[0] / name, again / name)
    assert call(again) == 0
    assert (again / "table.csv").read_text() == (made[0] / "table.csv").read_text()


def test_what_is_missing_is_named_and_nothing_else(
    made: tuple[Path, int, str],
    call: Callable[..., int],
    tmp_path: Path,
    nothing_runs: None,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = tmp_path / "benchmark"
    for name in ("circle", "star"):
        shutil.copytree(made[0] / name, folder / name)
    next(folder.glob("circle/train_*/videos/*_1.mp4")).unlink()
    shutil.rmtree(next(folder.glob("star/train_*/checkpoint-2")))
    assert call(folder, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "circle: trained; generate 1 of 2 videos" in lines
    assert "star: train on from step 1 of 2, generate 2 videos" in lines

    # More videos: those there are kept. Other settings: a new run beside the old one.
    assert call(folder, "--dry-run", "--repeat_num", 3, "lora_rank=3") == 0
    assert "circle: train 2 steps, generate 3 videos" in capsys.readouterr().out
    assert call(folder, "--dry-run", "--repeat_num", 3) == 0
    assert "circle: trained; generate 2 of 3 videos" in capsys.readouterr().out


def test_an_unfinished_run_is_resumed(
    made: tuple[Path, int, str],
    call: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "benchmark"
    for name in ("circle", "star"):
        shutil.copytree(made[0] / name, folder / name)
    (run,) = folder.glob("star/train_*")
    checkpoint = run / "checkpoint-2" / "lora" / "pytorch_lora_weights.safetensors"
    trained = checkpoint.read_bytes()
    shutil.rmtree(run / "videos")
    shutil.rmtree(run / "checkpoint-2")
    monkeypatch.setattr("experiments.jobs.processes.run_program", run_here)
    assert call(folder) == 0
    assert list(folder.glob("star/train_*")) == [run]
    assert checkpoint.read_bytes() == trained
    assert (folder / "table.csv").read_text() == (made[0] / "table.csv").read_text()


def test_two_processes_make_what_is_missing_and_give_the_table_of_one(
    made: tuple[Path, int, str], configs: list[Path], clip_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "benchmark"
    for name in ("circle", "star"):
        shutil.copytree(made[0] / name, folder / name)
    before = {path: path.read_bytes() for path in folder.glob("*/train_*/videos/*.mp4")}
    for removed in ("circle/train_*/videos/*_1.mp4", "star/train_*/videos/*_5.mp4"):
        next(folder.glob(removed)).unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/train_*/videos/*.mp4")}

    given = ["--configs", *configs[:2], *OVERRIDES, *OPTIONS, "--clip_model", clip_folder]
    given += ["--output_dir", folder]
    here = Replace("experiments.jobs.processes.run_program", run_program_here)
    launch(2, tmp_path, "experiments.paper_table.__main__", *given, disturbances=[here])
    after = {path: path.read_bytes() for path in folder.glob("*/train_*/videos/*.mp4")}
    assert after == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (folder / "table.csv").read_text() == (made[0] / "table.csv").read_text()


def test_configs_that_cannot_be_run(
    configs: list[Path],
    quick_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    data = {**quick_values["train_data"], "single_video_path": "gone.mp4"}
    gone = write_config(tmp_path / "gone.yaml", {**quick_values, "train_data": data})
    unknown = write_config(tmp_path / "unknown.yaml", {**quick_values, "learning_rat": 1})
    shared = [PROJECT / "configs" / f"{name}.yaml" for name in ("paper", "all_settings")]
    overrides = [*OVERRIDES, "lr_scheduler=linear", "lr_warmup_steps=1"]
    given = [*overrides, "--dry-run", "--device", "cpu", "--output_dir", tmp_path / "out"]
    assert (
        run_script(
            monkeypatch, benchmark.main, "--configs", configs[0], gone, unknown, *shared, *given
        )
        == 1
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"left out: {shared[0]}: it names no reference clip.",
        f"left out: {shared[1]}: it names no reference clip.",
        "gone: cannot be run: gone.mp4: there is no such video file.",
        f"unknown: cannot be run: {unknown}: unknown key 'learning_rat'. "
        "Did you mean 'learning_rate'?",
        "circle: train 2 steps, generate 10 videos",
    ]
    assert not (tmp_path / "out").exists()

    assert run_script(monkeypatch, benchmark.main, "--configs", gone, *shared, *given) == 2
    assert "error: none of the 3 configs can be run." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracker", "cotracker"], "CoTracker"),
        (["--imagereward_ckpt", "gone.pt"], "gone.pt: there is no such file"),
        (["--clip_model", "ViT-B-33"], "neither an open_clip architecture"),
        (["--repeat_nums", "3"], "unknown flag --repeat_nums. Did you mean '--repeat_num'?"),
    ],
)
def test_what_was_asked_for_by_name_is_checked_first(
    call: Callable[..., int],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr("evaluation.scorers.EVALUATION_DIR", tmp_path)
    assert call(tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_to_build_on_are_no_motions() -> None:
    folder = PROJECT / "configs"
    # The override does not fit paper.yaml's constant learning rate, which is no matter.
    for name in ("paper", "moving_shapes", "all_settings"):
        assert names_no_clip(folder / f"{name}.yaml", ["lr_warmup_steps=1"])
    assert not names_no_clip(folder / "demo.yaml", [])
    assert not names_no_clip(folder / "config_bear.yaml", ["learning_rat=1"])
    assert not names_no_clip(folder / "paper.yaml", ["train_data.single_video_path=a.mp4"])


def test_two_configs_of_one_name(configs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config_circle\.yaml would both be the motion 'circle'"):
        plan_motions([configs[0], configs[0]], [], tmp_path, 1, dry_run=True)


def test_takes_are_grouped_into_series() -> None:
    takes = [Take("a", 3), Take("a", 4), Take("a", 7), Take("b", 3), Take("b", 4)]
    assert as_series(takes) == [Series(("a", "b"), 3, 2), Series(("a",), 7, 1)]


def test_the_reference_is_what_was_trained_on(tmp_path: Path) -> None:
    frames = np.zeros((9, 48, 80, 3), np.uint8)
    frames[:, :, 16:64] = 200  # the centre square
    frames[:] += (4 * np.arange(9, dtype=np.uint8))[:, None, None, None]
    write_mp4(tmp_path / "clip.mp4", frames, fps=8)
    data = TrainData(
        single_video_path=str(tmp_path / "clip.mp4"),
        single_video_prompt="-",
        width=32,
        height=32,
        n_sample_frames=3,
        sample_start_idx=2,
        frame_step=3,
    )
    found = read_trained_frames(data)
    assert found.shape == (3, 48, 48, 3)
    centre = found[:, 8:40, 8:40].astype(int).mean(axis=(1, 2, 3))
    assert centre == pytest.approx([208, 220, 232], abs=3)
    assert found[:, 8:40, 4].min() > 150, "the edges are cropped"


def test_help_imports_nothing_heavy() -> None:
    import subprocess

    program = (
        "import runpy, sys\n"
        "sys.argv = ['benchmark', '--help']\n"
        "try: runpy.run_module('experiments.paper_table.__main__', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'cv2', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("usage: python -m experiments.paper_table")
