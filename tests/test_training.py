"""Training: resume, interruption, separate streams, accumulation, several processes."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import PROJECT, launch, resume_in_process, train_in_process, write_config
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import motionmatcher.training as training
from motionmatcher.base_layout import find_base
from motionmatcher.base_model import load_base_model
from motionmatcher.config import load_settings
from motionmatcher.errors import UserError
from motionmatcher.extractor import MotionExtractor
from motionmatcher.lora import add_lora
from motionmatcher.losses import TrainingLoss
from motionmatcher.objectives import draw_batch, training_loss
from motionmatcher.runs import Run

LORA = "lora/pytorch_lora_weights.safetensors"
STATE = "training_state.safetensors"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, run_values: dict[str, Any]) -> Path:
    folder = tmp_path_factory.mktemp("training")
    values = {**run_values, "output_dir": str(folder / "runs"), "lora_unet_dropout": 0.2}
    return write_config(folder / "config.yaml", values)


@pytest.fixture(scope="module")
def unbroken(config: Path) -> Run:
    return train_in_process(config)


def checkpoint_bytes(run: Run, step: int) -> list[bytes]:
    return [(run.checkpoint_folder(step) / name).read_bytes() for name in (LORA, STATE)]


def test_run_folder_is_complete(unbroken: Run) -> None:
    assert unbroken.checkpoint_steps() == [2, 4]
    names = {str(path.relative_to(unbroken.folder)) for path in unbroken.folder.rglob("*")}
    for step in (0, 4):
        assert f"samples/step-{step:05d}.png" in names
        assert f"samples/step-{step:05d}_a-circle-moves_0.mp4" in names
    assert "config.yaml" in names
    assert len(list(unbroken.reference_folder.glob("latents-*.safetensors"))) == 1
    assert len(list(unbroken.reference_folder.glob("inversion-*.safetensors"))) == 1


def test_tensorboard_has_the_curves(unbroken: Run) -> None:
    (file,) = unbroken.log_folder.rglob("events.*")
    curves = EventAccumulator(str(file)).Reload()
    names = {"loss", "spatial_loss", "temporal_loss", "gradient_norm", "learning_rate"}
    assert set(curves.Tags()["scalars"]) == names
    values = {name: [event.value for event in curves.Scalars(name)] for name in names}
    assert [event.step for event in curves.Scalars("loss")] == [1, 2, 3, 4]
    parts = zip(values["spatial_loss"], values["temporal_loss"], strict=True)
    assert values["loss"] == pytest.approx([spatial + temporal for spatial, temporal in parts])
    assert values["learning_rate"] == pytest.approx([5e-4] * 4)


def test_training_moves_every_weight(unbroken: Run) -> None:
    early, late = (load_file(unbroken.checkpoint_folder(step) / LORA) for step in (2, 4))
    still = [name for name, weight in late.items() if torch.equal(weight, early[name])]
    assert still == []


def test_a_failed_resume_changes_nothing(unbroken: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken.folder, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"does not fit this UNet and these settings"):
        resume_in_process(run, "lora_rank=3", "max_train_steps=5")
    with pytest.raises(UserError, match="was trained with another reference"):
        resume_in_process(run, "train_data.n_sample_frames=3", "max_train_steps=5")
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


def test_a_preview_left_out_is_made_on_resuming(unbroken: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken.folder, run)
    expected = {path.name: path.read_bytes() for path in (run / "samples").iterdir()}
    for path in (run / "samples").glob("step-00004*"):
        path.unlink()
    resume_in_process(run)
    assert {path.name: path.read_bytes() for path in (run / "samples").iterdir()} == expected


def test_same_seed_gives_the_same_run(unbroken: Run, config: Path) -> None:
    again = train_in_process(config, "validation_data.sample_preview=false")
    assert again.folder != unbroken.folder
    # Without previews: sampling one changes nothing in training.
    assert checkpoint_bytes(again, 4) == checkpoint_bytes(unbroken, 4)
    other = train_in_process(
        config, "seed=1", "max_train_steps=1", "validation_data.sample_preview=false"
    )
    first = load_file(other.checkpoint_folder(1) / LORA)
    assert any(
        not torch.equal(first[name], weight)
        for name, weight in load_file(unbroken.checkpoint_folder(2) / LORA).items()
        if "lora_A" in name
    )


def test_resume_equals_an_unbroken_run(unbroken: Run, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(unbroken.folder, killed)
    shutil.rmtree(killed / "checkpoint-4")
    preview = next((killed / "samples").glob("step-00004_*.mp4"))
    expected_preview = preview.read_bytes()
    preview.unlink()

    run = resume_in_process(killed)

    assert run.folder == killed
    assert checkpoint_bytes(run, 4) == checkpoint_bytes(unbroken, 4)
    assert preview.read_bytes() == expected_preview


def test_resume_needs_no_clip(unbroken: Run, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(unbroken.folder, killed)
    shutil.rmtree(killed / "checkpoint-4")
    settings = (killed / "config.yaml").read_text()
    clip = load_settings(killed / "config.yaml").train_data.single_video_path
    hidden = Path(clip).with_suffix(".hidden")
    Path(clip).rename(hidden)
    try:
        assert checkpoint_bytes(resume_in_process(killed), 4) == checkpoint_bytes(unbroken, 4)
    finally:
        hidden.rename(clip)
    assert (killed / "config.yaml").read_text() == settings


def test_resume_can_go_further(unbroken: Run, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    shutil.copytree(unbroken.folder, longer)
    run = resume_in_process(
        longer,
        "max_train_steps=5",
        "checkpoints_total_limit=2",
        "validation_data.sample_preview=false",
    )
    assert run.checkpoint_steps() == [4, 5]


def test_interruption_saves_and_resumes(
    unbroken: Run, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    original = training.training_loss
    calls = []

    def interrupted_loss(*arguments: Any) -> TrainingLoss:
        calls.append(None)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(training, "training_loss", interrupted_loss)
    handler = signal.getsignal(signal.SIGINT)
    run = train_in_process(config, "validation_data.sample_preview=false")

    assert len(calls) == 3, "the step under way is finished, and no other begun"
    assert run.checkpoint_steps() == [2, 3]
    assert f"train.py --resume {run.folder}" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    assert checkpoint_bytes(resume_in_process(run.folder), 4) == checkpoint_bytes(unbroken, 4)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run(
    config: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    original = training.training_loss
    calls = []

    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, value: torch.Tensor) -> torch.Tensor:
            return value * torch.nan if what == "loss" else value.clone()

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * torch.inf

    def poisoned_loss(*arguments: Any) -> TrainingLoss:
        calls.append(None)
        loss = original(*arguments)
        if len(calls) < 4:
            return loss
        return TrainingLoss({**loss.parts, "spatial": Poison.apply(loss.parts["spatial"])})

    monkeypatch.setattr(training, "training_loss", poisoned_loss)
    with pytest.raises(
        UserError, match=rf"the {what} is (nan|inf) at step 4.*learning_rate"
    ) as error:
        train_in_process(config, "validation_data.sample_preview=false")
    run = Run(Path(str(error.value).split("kept in ")[1].split(". Try")[0]))
    assert run.checkpoint_steps() == [2]


def test_accumulated_gradient_is_the_mean(config: Path, base_folder: Path) -> None:
    run = train_in_process(
        config,
        "gradient_accumulation_steps=2",
        "max_train_steps=1",
        "lora_unet_dropout=0",
        "validation_data.sample_preview=false",
    )
    settings = load_settings(run.config_file)
    base = load_base_model(find_base(str(base_folder)), torch.device("cpu"))
    latents = load_file(next(run.reference_folder.glob("latents-*")))["latents"]
    text = base.encode_prompts([settings.train_data.single_video_prompt])
    add_lora(base.unet, settings.lora_rank, settings.lora_targets, seed=settings.seed)
    extractor = MotionExtractor(base.unet, (4, 4), settings.motion_extractor)
    for micro_step in range(2):
        batch = draw_batch(settings, base, latents, 0, micro_step, 0)
        loss = training_loss(base, extractor, latents, batch, text, settings)
        (loss.total / 2).backward()

    state = load_file(run.checkpoint_folder(1) / STATE)
    for index, parameter in enumerate(base.unet.lora_parameters().values()):
        first_moment = state[f"optimizer.{index}.exp_avg"]  # (1 - beta1) * gradient
        torch.testing.assert_close(first_moment, 0.1 * parameter.grad, rtol=1e-4, atol=1e-16)


def test_two_processes(config: Path, tmp_path: Path, run_values: dict[str, Any]) -> None:
    values = {**run_values, "output_dir": str(tmp_path / "runs"), "max_train_steps": 2}
    launch(
        2,
        PROJECT / "tests" / "two_processes.py",
        write_config(tmp_path / "c.yaml", values),
        tmp_path,
    )

    first, second = (json.loads((tmp_path / f"process-{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == len(second) == 2
    for a, b in zip(first, second, strict=True):
        assert a["weights"] == b["weights"]
        assert a["local"] != b["local"], "each process draws its own noise and timesteps"
        mean = (a["local"] + b["local"]) / 2
        assert a["logged"] == b["logged"] == pytest.approx(mean, rel=1e-5)
    assert first[0]["weights"] != first[1]["weights"]
    (run,) = (Run(folder) for folder in (tmp_path / "runs").iterdir())
    assert run.checkpoint_steps() == [2]


def test_what_is_cut_off_a_prompt_is_said(
    unbroken: Run, config: Path, capsys: pytest.CaptureFixture
) -> None:
    few = ["max_train_steps=1", "validation_data.sample_preview=false"]
    cached = f"cached_latent_dir={unbroken.reference_folder}"
    train_in_process(config, *few, cached, f"train_data.single_video_prompt={'a b ' * 40}c")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: of")]
    assert len(notes) == 1
    assert notes[0].endswith('only 77 tokens are read; left out: "b a b a b c"')


def test_cached_latents_are_taken_when_they_fit(
    unbroken: Run, config: Path, capsys: pytest.CaptureFixture
) -> None:
    """One step each: the note that nothing fits comes only when it is so."""
    few = ["max_train_steps=1", "validation_data.sample_preview=false", "cache_latents=false"]
    cached = f"cached_latent_dir={unbroken.reference_folder}"
    train_in_process(config, *few, cached)
    assert "note: cached_latent_dir" not in capsys.readouterr().out
    train_in_process(config, *few, cached, "train_data.sample_start_idx=1")
    assert (
        f"note: cached_latent_dir {unbroken.reference_folder} holds no latents of this clip"
        in capsys.readouterr().out
    )


def test_a_pixel_objective_trains(config: Path, unbroken: Run) -> None:
    few = ["max_train_steps=2", "validation_data.sample_preview=false"]
    run = train_in_process(config, *few, "objective=motiondirector")
    (file,) = run.log_folder.rglob("events.*")
    curves = EventAccumulator(str(file)).Reload()
    assert {"loss", "denoising_loss", "debiased_loss"} < set(curves.Tags()["scalars"])
    assert checkpoint_bytes(run, 2) != checkpoint_bytes(unbroken, 2)
