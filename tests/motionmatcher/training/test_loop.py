"""Training: resume, interruption, separate streams, accumulation, several processes."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from launching import (
    full_disk,
    resume_in_process,
    train_in_process,
    write_config,
)
from processes import launch
from safetensors.torch import load_file
from small_models import write_tiny_base
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import motionmatcher.training.assembly as training_run
import motionmatcher.training.loop as training
import motionmatcher.training.previews as previews
from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import add_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.clips.video import write_mp4
from motionmatcher.config.loading import load_settings
from motionmatcher.errors import DivergedError, NotFiniteError, UserError, WriteError
from motionmatcher.interruption import Terminated, terminable
from motionmatcher.objectives.feature_matching import FeatureMatching
from motionmatcher.objectives.objective import Batch, TrainingLoss
from motionmatcher.random_streams import stream_seed
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_tensors, write_tensors
from motionmatcher.training.previews import Previewer

LORA = "lora/pytorch_lora_weights.safetensors"
STATE = "training_state.safetensors"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> Path:
    folder = tmp_path_factory.mktemp("training")
    values = {**quick_values, "output_dir": str(folder / "runs"), "lora_unet_dropout": 0.2}
    return write_config(folder / "config.yaml", values)


@pytest.fixture(scope="module")
def unbroken(config: Path) -> Run:
    return train_in_process(config)


def checkpoint_bytes(run: Run, step: int) -> list[bytes]:
    return [(run.checkpoint_folder(step) / name).read_bytes() for name in (LORA, STATE)]


@contextmanager
def changed_state(checkpoint: Path, nan: str | None = None, **description: Any) -> Iterator[None]:
    """Change what a checkpoint's training state says for a while: a tensor to NaN, or its numbers."""
    file = checkpoint / STATE
    content = file.read_bytes()
    tensors, state = read_tensors(file)
    if nan is not None:
        tensors[nan] = tensors[nan] * torch.nan
    write_tensors(file, tensors, {**state, **description})
    try:
        yield
    finally:
        file.write_bytes(content)


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


def test_training_moves_every_weight(run_values: dict[str, Any], tmp_path: Path) -> None:
    values = {**run_values, "output_dir": str(tmp_path / "runs"), "checkpointing_steps": 1}
    few = ["max_train_steps=2", "validation_data.sample_preview=false"]
    run = train_in_process(write_config(tmp_path / "config.yaml", values), *few)
    early, late = (load_file(run.checkpoint_folder(step) / LORA) for step in (1, 2))
    still = [name for name, weight in late.items() if torch.equal(weight, early[name])]
    assert still == []


def test_a_failed_resume_changes_nothing(unbroken: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken.folder, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"was trained with lora_rank 2, not 3"):
        resume_in_process(run, "lora_rank=3", "max_train_steps=5")
    other_clip = tmp_path / "other.mp4"
    write_mp4(other_clip, np.full((4, 64, 80, 3), 128, np.uint8), fps=8)
    with pytest.raises(UserError, match="was trained with another reference"):
        resume_in_process(
            run,
            f"train_data.single_video_path={other_clip}",
            "cache_latents=false",
            "max_train_steps=5",
        )
    other_base = write_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="was trained with another base"):
        resume_in_process(
            run,
            f"pretrained_model_path={other_base}",
            "cache_latents=false",
            "max_train_steps=5",
        )
    with (
        changed_state(run / "checkpoint-2", nan="optimizer.0.exp_avg"),
        pytest.raises(UserError, match="exp_avg holds NaN or infinity"),
    ):
        resume_in_process(run / "checkpoint-2", "max_train_steps=5")
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after == before


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


def test_an_earlier_checkpoint_starts_a_branch(
    unbroken: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = Run(shutil.copytree(unbroken.folder, tmp_path / "run"))
    old_preview = next(run.samples_folder.glob("step-00004_*.mp4")).read_bytes()

    resume_in_process(run.checkpoint_folder(2), "max_train_steps=3", "learning_rate=0.01")

    output = capsys.readouterr().out
    assert "learning_rate 0.01 instead of 0.0005" in output
    aside = Run(run.folder / "set-aside-after-2")
    assert f"note: what the run made after step 2 before is set aside in {aside.folder}." in output
    assert run.checkpoint_steps() == [2, 3]
    assert run.find_checkpoint() == run.checkpoint_folder(3)
    assert load_settings(run.config_file).learning_rate == 0.01
    assert not list(run.samples_folder.glob("step-00004*"))
    assert checkpoint_bytes(aside, 4) == checkpoint_bytes(unbroken, 4)
    assert load_settings(aside.config_file) == load_settings(unbroken.config_file)
    assert next(aside.samples_folder.glob("step-00004_*.mp4")).read_bytes() == old_preview
    (events,) = {file.parent for file in run.log_folder.rglob("events.*")}
    curves = EventAccumulator(str(events)).Reload()
    assert [event.step for event in curves.Scalars("loss")] == [1, 2, 3]
    rates = [event.value for event in curves.Scalars("learning_rate")]
    assert rates == pytest.approx([5e-4, 5e-4, 0.01])


def test_an_older_fingerprint_of_the_base_is_noted(
    unbroken: Run, tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture
) -> None:
    run = Run(shutil.copytree(unbroken.folder, tmp_path / "run"))
    shutil.rmtree(run.checkpoint_folder(4))
    file = run.checkpoint_folder(2) / LORA
    tensors, description = read_tensors(file)
    description["base"] = find_base(str(tiny_base)).sampled_fingerprint()
    write_tensors(file, tensors, description)
    resume_in_process(run.folder)
    checkpoint = run.checkpoint_folder(2)
    assert f"note: {checkpoint} records its base by an older fingerprint" in capsys.readouterr().out
    assert checkpoint_bytes(run, 4) == checkpoint_bytes(unbroken, 4)


def test_another_number_of_threads_is_noted(
    unbroken: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = Run(shutil.copytree(unbroken.folder, tmp_path / "run"))
    checkpoint = run.checkpoint_folder(4)
    resume_in_process(run.folder)
    assert "warning" not in capsys.readouterr().out
    with changed_state(checkpoint, num_threads=7):
        resume_in_process(run.folder)
    assert f"warning: {checkpoint} was computed with 7 threads and this process has 1" in (
        capsys.readouterr().out
    )


def test_starting_from_a_lora_of_another_base_is_noted(
    unbroken: Run, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    few = ["max_train_steps=1", "validation_data.sample_preview=false"]
    few += [f"lora_path={unbroken.checkpoint_folder(4)}"]
    train_in_process(config, *few)
    assert "another base" not in capsys.readouterr().out
    other = write_tiny_base(tmp_path / "other", seed=1)
    train_in_process(config, *few, f"pretrained_model_path={other}")
    note = f"note: lora_path {unbroken.checkpoint_folder(4)} was trained on another base than this one."
    assert note in capsys.readouterr().out


class Watched(FeatureMatching):
    """The method's objective; something happens before a loss, or is done to it."""

    def __init__(
        self,
        before: Callable[[int], object] = lambda number: None,
        after: Callable[[int, TrainingLoss], TrainingLoss] = lambda number, loss: loss,
    ) -> None:
        self.before, self.after = before, after
        self.number = 0  # of the loss, counted from 1

    def loss(self, batch: Batch) -> TrainingLoss:
        self.number += 1
        self.before(self.number)
        return self.after(self.number, super().loss(batch))


def at_loss(number: int, act: Callable[[], object]) -> Watched:
    """An objective with something that happens while its n-th loss is computed."""
    return Watched(before=lambda count: act() if count == number else None)


@pytest.mark.parametrize(
    ("number", "consequence"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_interruption_saves_and_resumes(
    unbroken: Run,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    number: signal.Signals,
    consequence: type[BaseException],
) -> None:
    objective = at_loss(3, lambda: signal.raise_signal(number))
    handler = signal.getsignal(number)
    overrides = [f"output_dir={tmp_path}", "validation_data.sample_preview=false"]
    with pytest.raises(consequence), terminable():
        train_in_process(config, *overrides, objective=objective)

    (run,) = map(Run, tmp_path.iterdir())
    assert objective.number == 3, "the step under way is finished, and no other begun"
    assert run.checkpoint_steps() == [2, 3]
    assert f"train.py --resume {run.folder}" in capsys.readouterr().out
    assert signal.getsignal(number) is handler
    assert checkpoint_bytes(resume_in_process(run.folder), 4) == checkpoint_bytes(unbroken, 4)


@pytest.mark.parametrize(
    ("second", "consequence"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_second_signal_ends_at_once(
    config: Path,
    tmp_path: Path,
    second: signal.Signals,
    consequence: type[BaseException],
) -> None:
    def act() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(second)
        pytest.fail("went on")

    overrides = [f"output_dir={tmp_path}", "validation_data.sample_preview=false"]
    with pytest.raises(consequence), terminable():
        train_in_process(config, *overrides, objective=at_loss(3, act))
    (run,) = map(Run, tmp_path.iterdir())
    assert run.checkpoint_steps() == [2], "the step under way is not finished"


def test_a_full_disk_keeps_the_lora_and_resumes_once_there_is_room(
    unbroken: Run, config: Path, tmp_path: Path
) -> None:
    lora_bytes = (unbroken.checkpoint_folder(4) / LORA).stat().st_size
    with ExitStack() as disk:
        fill = at_loss(3, lambda: disk.enter_context(full_disk(lora_bytes + 100)))
        with pytest.raises(
            UserError, match=r"checkpoint-4 cannot be saved: .*only its LoRA is kept"
        ):
            train_in_process(
                config,
                f"output_dir={tmp_path}",
                "validation_data.sample_preview=false",
                objective=fill,
            )
    (run,) = map(Run, tmp_path.iterdir())
    kept = (run.checkpoint_folder(4) / LORA).read_bytes()
    assert kept == checkpoint_bytes(unbroken, 4)[0]
    assert checkpoint_bytes(resume_in_process(run.folder), 4) == checkpoint_bytes(unbroken, 4)


def test_previews_and_logs_that_cannot_be_written_stop_no_training(
    unbroken: Run, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise WriteError(path, "No space left on device")

    def refuse_to_log(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(previews, "write_mp4", refuse)
    monkeypatch.setattr(Accelerator, "log", refuse_to_log)
    run = train_in_process(config)
    assert checkpoint_bytes(run, 4) == checkpoint_bytes(unbroken, 4)
    said = capsys.readouterr()
    notes = [line for line in (said.out + said.err).splitlines() if line.startswith("note: ")]
    assert [note.split(":")[1] for note in notes] == [
        " no preview of step 0",
        f" the log in {run.log_folder} has gaps",
        " no preview of step 4",
    ]


class Poison(torch.autograd.Function):
    """Makes the loss NaN, or its gradient infinite."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor, what: str) -> torch.Tensor:
        return value * torch.nan if what == "loss" else value.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * torch.inf, None


def poisoned(what: str, steps: Container[int]) -> Watched:
    """An objective whose loss or gradient is poisoned in some steps, counted from 1."""

    def poison(number: int, loss: TrainingLoss) -> TrainingLoss:
        if number not in steps:
            return loss
        return TrainingLoss({**loss.parts, "spatial": Poison.apply(loss.parts["spatial"], what)})

    return Watched(after=poison)


def run_named_by(error: pytest.ExceptionInfo) -> Run:
    return Run(Path(str(error.value).split("kept in ")[1].split(". Try")[0]))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run(config: Path, what: str) -> None:
    with pytest.raises(
        DivergedError, match=rf"the {what} is (nan|inf) at step 4.*learning_rate"
    ) as e:
        train_in_process(
            config, "validation_data.sample_preview=false", objective=poisoned(what, [4])
        )
    assert run_named_by(e).checkpoint_steps() == [2]


def test_before_the_first_update_no_learning_rate_is_blamed(config: Path) -> None:
    with pytest.raises(DivergedError, match=r"the loss is nan at step 1, .* Try mixed_precision"):
        train_in_process(
            config, "validation_data.sample_preview=false", objective=poisoned("loss", [1])
        )


@pytest.mark.parametrize("steps", [2, 3], ids=["at a checkpoint", "at the end"])
def test_weights_that_are_not_finite_are_not_saved(
    config: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing within the settings' ranges is known to do it.
    monkeypatch.setattr("motionmatcher.config.loading.check_bounds", lambda *_: None)
    with pytest.raises(
        DivergedError, match=r"the LoRA's weights \(.*\) are not finite at step \d"
    ) as e:
        train_in_process(
            config,
            "learning_rate=1e38",
            "adam_weight_decay=1e38",
            f"max_train_steps={steps}",
            "checkpointing_steps=1",
            "validation_data.sample_preview=false",
        )
    assert run_named_by(e).checkpoint_steps() == []


def test_a_preview_that_explodes_keeps_the_steps_made(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = Previewer.write

    def explode(previewer: Previewer, folder: Path, step: int, *others: Any) -> bool:
        if step == 3:
            raise NotFiniteError("NaN or infinity in the generated latents")
        return original(previewer, folder, step, *others)

    monkeypatch.setattr(Previewer, "write", explode)
    runs = tmp_path / "runs"
    with pytest.raises(NotFiniteError):
        train_in_process(config, "validation_steps=3", f"output_dir={runs}")
    (folder,) = runs.iterdir()
    assert Run(folder).checkpoint_steps() == [2, 3]


def test_one_process_trains_in_one_precision_after_the_other(config: Path) -> None:
    """As a notebook does; accelerate alone refuses it."""
    for precision in ("bf16", "no", "bf16"):
        settings = load_settings(config, [f"mixed_precision={precision}"])
        accelerator = training_run.make_accelerator(settings, torch.device("cpu"))
        assert accelerator.mixed_precision == precision


def test_one_process_trains_on_one_device_after_the_other(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with a GPU: accelerate alone refuses the CPU then, and keeps it for the GPU."""
    settings, cpu = load_settings(config), torch.device("cpu")
    first = training_run.make_accelerator(settings, cpu)
    for state in (PartialState, AcceleratorState):
        monkeypatch.setitem(state._shared_state, "device", torch.device("meta"))
    assert first.device.type == "meta"
    assert training_run.make_accelerator(settings, cpu).device == cpu


# The learning rate's schedule does not know the step that accelerate wraps around a scaled one.
_WITH_FP16_SCALER = pytest.mark.filterwarnings("ignore:.*optimizer.step.*overridden:UserWarning")


@pytest.fixture
def fp16_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale the loss as fp16 does, which is computed on CUDA only."""
    original = training_run.make_accelerator

    def with_scaler(*arguments: Any) -> Accelerator:
        accelerator = original(*arguments)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
        accelerator.unscale_gradients = lambda wrapped: accelerator.scaler.unscale_(
            wrapped.optimizer
        )
        return accelerator

    monkeypatch.setattr(training_run, "make_accelerator", with_scaler)


@_WITH_FP16_SCALER
@pytest.mark.usefixtures("fp16_scaler")
def test_skipped_updates_are_shown_and_kept_in_the_count(
    config: Path, capsys: pytest.CaptureFixture
) -> None:
    quiet = "validation_data.sample_preview=false"
    run = train_in_process(config, quiet, objective=poisoned("gradient", [1, 2, 4]))
    output = capsys.readouterr()
    assert "note: 3 of 4 updates were skipped, for fp16 overflowed" in output.out
    assert "3 updates skipped (fp16)" in output.err
    state = load_file(run.checkpoint_folder(4) / STATE)
    assert state["optimizer.0.step"] == 1
    capsys.readouterr()
    resume_in_process(run.folder, "max_train_steps=5", quiet)
    assert "note: 3 of 5 updates were skipped" in capsys.readouterr().out
    resume_in_process(run.checkpoint_folder(2), quiet)  # before the first update
    assert "note: 2 of 5 updates were skipped" in capsys.readouterr().out


@_WITH_FP16_SCALER
@pytest.mark.usefixtures("fp16_scaler")
def test_endless_skipping_stops_with_advice(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MAX_SKIPPED_UPDATES", 1)
    objective = poisoned("gradient", [1, 3, 4])
    message = r"fp16 overflowed in 2 steps in a row at step 4, .* Try mixed_precision bf16 or no"
    with pytest.raises(DivergedError, match=message) as e:
        train_in_process(config, "validation_data.sample_preview=false", objective=objective)
    assert run_named_by(e).checkpoint_steps() == [2]


def test_accumulated_gradient_is_the_mean(config: Path, tiny_base: Path) -> None:
    run = train_in_process(
        config,
        "gradient_accumulation_steps=2",
        "max_train_steps=1",
        "lora_unet_dropout=0",
        "validation_data.sample_preview=false",
    )
    settings = load_settings(run.config_file)
    base = load_base_model(find_base(str(tiny_base)), torch.device("cpu"))
    latents = load_file(next(run.reference_folder.glob("latents-*")))["latents"]
    text = base.text.encode([settings.train_data.single_video_prompt])
    add_lora(base.denoiser, settings.lora_rank, settings.lora_targets, seed=settings.seed)
    objective = FeatureMatching()
    objective.prepare(base, settings, (4, 4))
    for micro_step in range(2):
        loss = objective.loss(objective.draw(latents, text, 0, micro_step, 0))
        (loss.total / 2).backward()

    state = load_file(run.checkpoint_folder(1) / STATE)
    for index, parameter in enumerate(base.denoiser.lora_parameters().values()):
        first_moment = state[f"optimizer.{index}.exp_avg"]  # (1 - beta1) * gradient
        assert parameter.grad is not None
        torch.testing.assert_close(first_moment, 0.1 * parameter.grad, rtol=1e-4, atol=1e-16)


def test_the_learning_rate_goes_on_where_it_was(config: Path) -> None:
    settings = replace(
        load_settings(config), lr_scheduler="linear", lr_warmup_steps=2, max_train_steps=8
    )

    def rates(first_step: int) -> list[float]:
        optimizer = training.make_optimizer(settings, [torch.nn.Parameter(torch.zeros(1))])
        schedule = training.make_learning_rate(settings, optimizer, first_step)
        found = []
        for _ in range(first_step, 8):
            found.append(float(schedule.get_last_lr()[0]) / settings.learning_rate)
            optimizer.step()
            schedule.step()
        return found

    assert rates(0) == pytest.approx([0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert rates(3) == rates(0)[3:]


def test_dropout_has_a_seed_of_its_own_in_each_pass(config: Path) -> None:
    seeds: list[int] = []
    objective = Watched(before=lambda number: seeds.append(torch.initial_seed()))
    few = ["max_train_steps=2", "validation_data.sample_preview=false"]
    train_in_process(config, *few, "seed=3", "gradient_accumulation_steps=2", objective=objective)
    places = [(step, micro_step, 0) for step in range(2) for micro_step in range(2)]
    assert seeds == [stream_seed(3, "dropout", *place) for place in places]


@pytest.mark.parametrize(
    ("settings_of_the_unet", "chosen"),
    [
        ([], []),
        (["compile=true"], ["compiled"]),
        (["gradient_checkpointing=full"], ["full"]),
        (["gradient_checkpointing=selective"], ["selective"]),
    ],
)
def test_the_unet_computes_as_the_settings_say(
    config: Path,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings_of_the_unet: list[str],
    chosen: list[str],
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(MotionUNet, "compile_layers", lambda unet: calls.append("compiled"))
    monkeypatch.setattr(MotionUNet, "recompute_in_backward", lambda unet, what: calls.append(what))
    settings = load_settings(config, settings_of_the_unet)
    base = load_base_model(find_base(str(tiny_base)), torch.device("cpu"))
    training_run.attach_lora(settings, base, torch.zeros(1, 4, 4, 4, 4))
    assert calls == chosen
    assert len(base.denoiser.lora_layers()) > 0


def test_two_processes(config: Path, tmp_path: Path, quick_values: dict[str, Any]) -> None:
    values = {**quick_values, "output_dir": str(tmp_path / "runs"), "max_train_steps": 2}
    launch(2, tmp_path, "two_processes", write_config(tmp_path / "c.yaml", values), tmp_path)

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
    negative = f"validation_data.negative_prompt={'c d ' * 40}e"
    train_in_process(config, "max_train_steps=1", cached, negative)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: of")]
    assert len(notes) == 1
    assert notes[0].endswith('left out: "d c d c d e"')


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
