"""train.py's command line: errors before weights, dry run, no needless imports."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT, run_script, train_in_process, write_config

import train
from motionmatcher.config.loading import load_settings
from motionmatcher.cost.step import FakeStep, StepCost, UncountableError
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checks import check_training
from testbed.random_base import FULL_SIZE, write_random_base

SCRIPTS = sorted(path.name for path in PROJECT.glob("*.py"))


@pytest.fixture
def config(tmp_path: Path, quick_values: dict[str, Any]) -> Path:
    values = {**quick_values, "output_dir": str(tmp_path / "runs")}
    return write_config(tmp_path / "config.yaml", values)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(script: str) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{script!r}, '--help']\n"
        f"try: runpy.run_path({str(PROJECT / script)!r}, run_name='__main__')\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'cv2', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"usage: {script}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learning_rat=1"], "unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        (["train_data.single_video_path=gone.mp4"], "gone.mp4: there is no such video file"),
        (["train_data.n_sample_frames=13"], "has 12 frames, but sample_start_idx 0, frame_step 1"),
        (["train_data.width=36"], "width 36 must be a multiple of 8 pixels"),
        (["seed=18446744073709551616"], "seed must be at most 18446744073709551615, not 184467440737"),
        (["train_data.width=8192", "train_data.height=8192", "train_batch_size=10000"],
         "a step with train_batch_size 10000 and 4 frames of 8192x8192 takes 10,000.00 GiB or more, and"),
        (["validation_data.width=8192", "validation_data.height=8192"],
         "generating 1 video at a time of 4 frames of 8192x8192 takes"),
        (["pretrained_model_path=models/gone/"], "models/gone/: there is no such base model folder"),
        (["motion_extractor.spatial_scale_factor=8"], "there are 4x4 (scale factor 1)"),
        (["rescale_schedule=true"], "rescale_schedule wants a v-prediction base"),
        (["resume_from_checkpoint=latest"], "latest finds no run with a checkpoint"),
        (["lora_path=gone"], "lora_path: gone is not a folder"),
        (["min_timestep=1000"], "min_timestep 1000 must be below the base's 1000 timesteps"),
        (["logger_type=wandb"], "logger_type: wandb needs the package wandb"),
        (["output_dir=README.md/runs"], "output_dir README.md/runs: README.md is a file"),
        (["output_dir=/proc/runs"], "output_dir /proc/runs cannot be written: No such file or directory"),
        ([f"output_dir={'n' * 300}"], "n cannot be written: File name too long"),
        ([f"lora_path={'n' * 300}"], "n: File name too long."),
        ([f"pretrained_model_path={'n' * 300}"], "n: File name too long."),
        ([f"train_data.single_video_path={'n' * 300}"], "n: File name too long."),
        (["--json", "tests"], "argument --json: tests cannot be written: Is a directory"),
        (["--json", "README.md/results.json"], "README.md is a file"),
        (["use_8bit_adam=true"], "use_8bit_adam needs the package bitsandbytes"),
        (["--device", "cuda:99"], "--device cuda:99: there is no such device here"),
        (["--dryrun"], "unknown flag --dryrun. Did you mean '--dry-run'?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_any_weight_is_read(
    config: Path,
    overrides: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    reads_weights = "motionmatcher.training.assembly.load_base_model"
    monkeypatch.setattr(reads_weights, lambda *_: pytest.fail("read weights"))
    assert run_script(monkeypatch, train.main, "--config", config, *overrides) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.startswith("error: ")
    assert len(output.err.removesuffix("See `script.py --help`.\n").splitlines()) == 1
    assert "Traceback" not in output.err
    assert not (config.parent / "runs").exists()


def test_a_path_with_a_nul(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_config(config, {**json.loads(config.read_text()), "output_dir": "a\0b"})
    assert run_script(monkeypatch, train.main, "--config", config) == 2
    assert "output_dir holds a NUL character: 'a\\x00b'" in capsys.readouterr().err


def test_no_room_for_a_checkpoint(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    usage = shutil.disk_usage(config.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    arguments = ["--config", config, "--dry-run", "lora_rank=64"]
    assert run_script(monkeypatch, train.main, *arguments) == 2
    found = re.fullmatch(
        rf"error: {config.parent / 'runs'}: a checkpoint takes (.*) MiB and 1\.0 MiB are free there: "
        r"make room, or choose another output_dir\.\n",
        capsys.readouterr().err,
    )
    assert found
    monkeypatch.undo()
    short = [
        "max_train_steps=1",
        "validation_data.sample_preview=false",
        "validation_data.noise_prior=0",
    ]
    run = train_in_process(config, "lora_rank=64", *short)
    content = run.checkpoint_folder(1).rglob("*.safetensors")
    taken = sum(file.stat().st_size for file in content) / 2**20
    assert float(found[1]) == pytest.approx(taken, rel=0.03)


def test_a_base_that_fails_to_load_leaves_no_run_folder(
    config: Path,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    base = config.parent / "base"
    shutil.copytree(tiny_base, base)
    (weights,) = (base / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    arguments = ["--config", config, f"pretrained_model_path={base}", "--device", "cpu"]
    assert run_script(monkeypatch, train.main, *arguments) == 2
    assert f"error: the weights in {base / 'vae'} are damaged" in capsys.readouterr().err
    assert not (config.parent / "runs").exists()


def test_a_read_only_run_is_not_resumed(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    plan = check_training(load_settings(config))
    run = Run.create(plan.settings.output_dir, plan.settings)
    run.checkpoint_folder(1).mkdir()

    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # root may write anywhere
    arguments = ["--resume", run.folder, "--device", "cpu", "max_train_steps=2"]
    assert run_script(monkeypatch, train.main, *arguments) == 2
    assert capsys.readouterr().err == (
        f"error: --resume {run.folder} cannot be written: Read-only file system; "
        "choose another folder.\n"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=18446744073709551616"],
        ["train_data.width=8192", "train_data.height=8192", "train_batch_size=10000"],
        ["train_data.n_sample_frames=1000000000"],
        ["learning_rate=1e38"],
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(
    config: Path,
    overrides: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    lines = []
    for dry in ([], ["--dry-run"]):
        assert run_script(monkeypatch, train.main, "--config", config, *overrides, *dry) == 2
        output, error = capsys.readouterr()
        assert "passed" not in output
        lines.append(error.partition("GiB are free")[0].rpartition(",")[0] or error)
    assert lines[0] == lines[1]


def test_dry_run_writes_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = sorted(config.parent.rglob("*"))
    odd = ["lr_scheduler=cosine", "lr_warmup_steps=4", "enable_torch_2_attn=true"]
    assert run_script(monkeypatch, train.main, "--config", config, "--dry-run", *odd) == 0
    assert sorted(config.parent.rglob("*")) == before
    output = capsys.readouterr().out
    assert "all checks passed" in output
    assert "note: lr_warmup_steps 4 lasts all of max_train_steps 4" in output
    assert "note: enable_torch_2_attn does nothing here" in output


def test_dry_run_of_the_full_size_from_configs_alone(
    tmp_path: Path, clip_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    base = write_random_base(tmp_path / "base", FULL_SIZE, configs_only=True)
    results = tmp_path / "results.json"
    overrides = [
        f"pretrained_model_path={base}",
        f"train_data.single_video_path={clip_path}",
        "train_data.n_sample_frames=12",
    ]
    arguments = [
        "--config",
        PROJECT / "configs/config_gold_fish.yaml",
        "--dry-run",
        "--json",
        results,
    ]
    # Counting a step of this size takes half a minute; test_step.py does it on smaller ones.
    counted = StepCost(flops=10**13, parts={"weights": 3 * 2**30}, activations=2**60)
    monkeypatch.setattr(FakeStep, "cost", lambda step: counted)
    assert run_script(monkeypatch, train.main, *arguments, *overrides) == 2
    found = json.loads(results.read_text())
    assert (
        found.items()
        >= {
            "lora_modules": 266,
            "lora_parameters": 21_258_240,
            "latent_size": [48, 48],
            "cross_attention_map_size": [12, 12],
            "temporal_attention_map_size": [12, 12],
            "steps": 400,
            "flops_per_step": 10**13,
            "flops_of_run": 400 * 10**13,
            "fits": False,
        }.items()
    )
    output, error = capsys.readouterr()
    assert "all checks passed" not in output
    assert error.startswith("error: the run takes 1,073,741,827.00 GiB, and")
    assert "lora parameters: 21,258,240" in output
    assert "compute: 10 TFLOP a step, 4 PFLOP in all" in output
    assert "(weights 3.00, activations and gradients" in output
    assert "this does not fit: try" in output
    assert "no weights yet for unet, vae, text_encoder" in output


def test_dry_run_of_an_objective_that_cannot_be_counted(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(step: FakeStep) -> StepCost:
        raise UncountableError("what a step costs cannot be counted.")

    monkeypatch.setattr(FakeStep, "cost", refuse)
    results = config.parent / "results.json"
    arguments = ["--config", config, "--dry-run", "--device", "cpu", "--json", results]
    assert run_script(monkeypatch, train.main, *arguments) == 0
    output = capsys.readouterr().out
    assert "note: what a step costs cannot be counted.\n" in output
    assert "all checks passed" in output
    assert "flops_of_run" not in json.loads(results.read_text())


def test_a_new_run_with_weights_missing_names_the_download(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    base = write_random_base(tmp_path / "base", configs_only=True)
    override = f"pretrained_model_path={base}"
    assert run_script(monkeypatch, train.main, "--config", config, override) == 2
    assert "has no weights for unet, vae, text_encoder. Copy it anew" in (capsys.readouterr().err)


def test_train_and_resume_by_command(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    results = config.parent / "results.json"
    short = ["max_train_steps=1", "validation_data.sample_preview=false", "mixed_precision=fp16"]
    arguments = [
        "--config",
        config,
        "--json",
        results,
        "--device",
        "cpu",
        "enable_torch_2_attn=true",
    ]
    assert run_script(monkeypatch, train.main, *arguments, *short) == 0
    output = capsys.readouterr().out
    assert "note: mixed_precision fp16 needs CUDA; this is computed in fp32." in output
    assert "note: enable_torch_2_attn does nothing here" in output
    run = json.loads(results.read_text())
    assert run["finished"] is True

    arguments = ["--resume", run["run"], "--device", "cpu", "max_train_steps=2"]
    assert run_script(monkeypatch, train.main, *arguments) == 0
    assert (Path(run["run"]) / "checkpoint-2" / "lora").is_dir()


def test_resuming_by_config_continues_the_run(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    short = ["max_train_steps=1", "validation_data.sample_preview=false"]
    assert run_script(monkeypatch, train.main, "--config", config, *short, "--device", "cpu") == 0
    (run,) = (config.parent / "runs").iterdir()
    latest = ["resume_from_checkpoint=latest", "max_train_steps=2", "--device", "cpu"]
    assert run_script(monkeypatch, train.main, "--config", config, *latest) == 0
    assert sorted(path.name for path in run.glob("checkpoint-*")) == [
        "checkpoint-1",
        "checkpoint-2",
    ]
    assert len(list((config.parent / "runs").iterdir())) == 1
