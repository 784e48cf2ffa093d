"""The Python API: what a notebook calls, and the same files as the scripts'."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT, run_script, train_in_process, write_config

import inference
import motionmatcher
from motionmatcher import generate, load_settings, open_run, train
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run

PROMPT = "A circle moves."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run_values: dict[str, Any]) -> Run:
    folder = tmp_path_factory.mktemp("api")
    values = {**run_values, "output_dir": str(folder / "runs")}
    return Run(train_in_process(write_config(folder / "config.yaml", values)).folder)


def test_the_package_imports_nothing_heavy_before_it_is_used() -> None:
    program = (
        "import sys, motionmatcher; motionmatcher.load_settings; motionmatcher.register_objective\n"
        "sys.exit(f\"{ {'torch', 'diffusers', 'cv2'} & set(sys.modules) or '' }\")"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.stderr.strip() == ""


@pytest.mark.parametrize("name", motionmatcher.__all__)
def test_all_names_lead_somewhere(name: str) -> None:
    assert getattr(motionmatcher, name).__doc__


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = motionmatcher.trian


def test_videos_are_those_of_the_script(
    trained: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = open_run(trained.checkpoint_folder(2))
    assert run == trained
    capsys.readouterr()
    videos = generate(
        run, PROMPT, repeat_num=2, seed=3, output_dir=tmp_path / "api", device="cpu", quiet=True
    )
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")
    assert [(video.prompt, video.seed) for video in videos] == [(PROMPT, 3), (PROMPT, 4)]
    assert videos[0].frames.shape == (4, 32, 32, 3)
    flags = ["-cf", trained.folder, "-p", PROMPT, "-rn", "2", "-r", "3", "-d", "cpu"]
    assert run_script(monkeypatch, inference.main, *flags, "-o", tmp_path / "script") == 0
    for video in videos:
        assert video.path.read_bytes() == (tmp_path / "script" / video.path.name).read_bytes()
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numsteps": 3}, "unknown option 'numsteps'. Did you mean 'num_steps'?"),
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        (
            {"scheduler": "heun"},
            r"scheduler must be one of ddim, euler, dpm\+\+, unipc, not 'heun'",
        ),
        ({"mixed_precision": "fp8"}, "mixed_precision must be one of no, fp16, bf16, not 'fp8'"),
        ({"checkpoint": 3}, "has no checkpoint-3; there are: 2, 4"),
    ],
)
def test_options_are_called_by_their_names(
    trained: Run, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        generate(trained, PROMPT, output_dir=tmp_path, device="cpu", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prompts", [[], "", ["A cat.", " "]])
def test_prompts_that_show_nothing(trained: Run, prompts: str | list[str]) -> None:
    with pytest.raises(UserError, match=r"no prompt: give prompts|prompts is blank"):
        generate(trained, prompts, device="cpu")


def test_settings_put_together_in_python_are_checked(trained: Run) -> None:
    settings = load_settings(trained.config_file)
    with pytest.raises(UserError, match="settings: lora_rank must be at least 1, not 0"):
        train(replace(settings, lora_rank=0), device="cpu")
    with pytest.raises(UserError, match=r"use dataclasses\.replace"):
        train(settings, ["lora_rank=3"], device="cpu")
    with pytest.raises(UserError, match=r"objective must be one of .*, not 'nothing'"):
        train(settings, objective="nothing", device="cpu")
