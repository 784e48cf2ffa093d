"""Runs killed at any moment go on from their last checkpoint as if nothing had happened."""

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from launching import write_config
from processes import (
    CountFileOperations,
    KillAtFileOperation,
    Program,
    WriteTensorsInPieces,
    start,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from motionmatcher.clips.video import read_video
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_tensors

CHECKPOINT = "checkpoint-"
STEPS = 4


def newest(folder: Path) -> Run | None:
    """The newest run that can be resumed and has something left to do."""
    runs = [Run(path) for path in sorted(folder.glob("runs/train_*"))]
    steps = runs[-1].checkpoint_steps() if runs else []
    return runs[-1] if steps and steps[-1] < STEPS else None


def train(folder: Path, config: Path, *disturbances: Any) -> Program:
    """Go on with the newest run of a folder, or begin one."""
    run = newest(folder)
    source = ("--resume", run.folder) if run else ("--config", config)
    return start(
        folder / "log.txt",
        "train",
        *(*source, "--device", "cpu"),
        disturbances=[WriteTensorsInPieces(), *disturbances],
    )


def prepare(folder: Path, quick_values: Mapping[str, Any]) -> Path:
    return write_config(
        folder / "config.yaml",
        {
            **quick_values,
            "output_dir": str(folder / "runs"),
            "validation_data": {"prompt": "A circle moves.", "num_inference_steps": 2},
            "lora_unet_dropout": 0.2,
            "max_train_steps": STEPS,
            "checkpointing_steps": 1,
            "checkpoints_total_limit": 2,
            "validation_steps": 3,
        },
    )


def curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """All of TensorBoard's scalars by name: step and value."""
    (folder,) = {file.parent for file in run.log_folder.rglob("events.*")}
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        name: [(event.step, event.value) for event in read.Scalars(name)]
        for name in read.Tags()["scalars"]
    }


def contents(run: Run) -> dict[str, bytes]:
    """All files of a run but TensorBoard's and the settings, which name another folder."""
    return {
        str(path.relative_to(run.folder)): path.read_bytes()
        for path in sorted(run.folder.rglob("*"))
        if path.is_file() and run.log_folder not in path.parents and path != run.config_file
    }


class Unbroken:
    """A run that nothing stopped, with its duration and the number of its file operations."""

    def __init__(self, folder: Path, quick_values: Mapping[str, Any]) -> None:
        trace = folder / "trace.txt"
        counting = CountFileOperations(folder / "runs", trace)
        program = train(folder, prepare(folder, quick_values), counting)
        program.wait_for(trace)  # the first process takes its time to come up
        begun = time.monotonic()
        assert program.wait() == 0, program.output
        self.seconds = time.monotonic() - begun
        operations = trace.read_text().splitlines()
        # LoRA and state of each checkpoint.
        openings = sum(
            line.startswith("open ") and line.endswith(".safetensors") for line in operations
        )
        assert openings > 2 * STEPS * WriteTensorsInPieces().pieces, (
            "written at once, not in pieces"
        )
        self.operations = len(operations)
        self.operations_of_a_checkpoint = sum(CHECKPOINT in line for line in operations) // STEPS
        (self.run,) = map(Run, folder.glob("runs/*"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> Unbroken:
    return Unbroken(tmp_path_factory.mktemp("unbroken"), quick_values)


def require_whole_checkpoints(folder: Path) -> None:
    """Require that what is called a checkpoint is one, whenever the kill came."""
    for checkpoint in folder.glob("runs/*/checkpoint-*"):
        for name in ("training_state.safetensors", "lora/pytorch_lora_weights.safetensors"):
            read_tensors(checkpoint / name)


def require_the_same(folder: Path, unbroken: Unbroken) -> None:
    """Require that the newest run is the unbroken one to the bit, with nothing else left behind."""
    run = Run(max(folder.glob("runs/train_*")))
    found, expected = contents(run), contents(unbroken.run)
    assert list(found) == list(expected)
    assert [name for name, content in found.items() if content != expected[name]] == []
    assert curves(run) == curves(unbroken.run)


def test_a_killed_run_resumes_to_the_same_bits(
    unbroken: Unbroken, quick_values: dict[str, Any], tmp_path: Path, kills: int
) -> None:
    """In turns, a kill hits the writing of a checkpoint, any moment and any file operation."""
    config = prepare(tmp_path, quick_values)
    moments = random.Random(0)
    killed = 0
    while killed < kills or newest(tmp_path) is None:  # the last one is resumed
        if killed % 3 == 0:
            number = moments.randint(1, unbroken.operations_of_a_checkpoint)
            number += unbroken.operations_of_a_checkpoint  # the first one is left to resume from
            kill = KillAtFileOperation(tmp_path / "runs", number, CHECKPOINT)
            code = train(tmp_path, config, kill).wait()
        elif killed % 3 == 1:
            program = train(tmp_path, config)
            code = program.kill_after(moments.uniform(0, unbroken.seconds))
        else:
            number = moments.randint(1, unbroken.operations // 2)
            code = train(tmp_path, config, KillAtFileOperation(tmp_path / "runs", number)).wait()
        assert code in (0, -9), (tmp_path / "log.txt").read_text()
        killed += code == -9
        if code == 0:
            require_the_same(tmp_path, unbroken)
        require_whole_checkpoints(tmp_path)
    program = train(tmp_path, config)
    assert program.wait() == 0, program.output
    require_the_same(tmp_path, unbroken)


def test_killed_inferences_leave_whole_files(trained: Run, tmp_path: Path, kills: int) -> None:
    """Each is killed at another file operation; the last one is let be."""
    folder, trace = tmp_path / "videos", tmp_path / "trace.txt"
    arguments = ("-cf", trained.folder, "-p", "A circle.", "-d", "cpu", "-rn", 2, "-o", folder)

    def infer(*disturbances: Any) -> Program:
        log = tmp_path / "log.txt"
        return start(log, "inference", *arguments, "--gif", disturbances=disturbances)

    program = infer(CountFileOperations(folder, trace))
    assert program.wait() == 0, program.output
    operations = trace.read_text().count("\n")
    for number in random.Random(0).choices(range(1, operations + 1), k=kills):
        program = infer(KillAtFileOperation(folder, number))
        assert program.wait() == -9, program.output
        entries = json.loads((folder / "manifest.json").read_text())["videos"]
        for entry in entries:
            assert len(read_video(folder / entry["file"])[0]) == 4
    program = infer()
    assert program.wait() == 0, program.output
    names = [
        entry["file"] for entry in json.loads((folder / "manifest.json").read_text())["videos"]
    ]
    assert len(set(names)) == len(names) >= 4
    visible = [path for path in folder.iterdir() if path.name != ".manifest.lock"]
    assert not [path.name for path in visible if path.name.startswith(".")]
    for path in folder.glob("*.mp4"):
        assert len(read_video(path)[0]) == 4
