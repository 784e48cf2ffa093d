"""Whatever the command line says: one line and exit code 2, or the work begins."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.fuzzing import begin, cases, patched, require_clean_end
from faults.odd_inputs import command_line, number_words, words
from hypothesis import given
from hypothesis import strategies as st
from launching import write_config

import clip_scores
import evaluation.__main__ as evaluate
import imagereward
import inference
import motion_discrepancy
import train
from motionmatcher.clips.video import write_mp4
from motionmatcher.runs.run_folder import Run

# No others: an accepted one is written. `there` is a folder, `file` a file.
OUTPUTS = (
    "out",
    "out/deep",
    "there",
    "file",
    "file/x",
    "there/" + "n" * 300,
    "a\nb",
    "é狗",
    " ",
    "",
)
outputs = st.sampled_from(OUTPUTS)
devices = st.sampled_from(("auto", "cpu", "cuda:99", "cuda:-1", "tpu", "cuda:²", "", "cpu:1"))
inputs = st.sampled_from(("there", "file", "gone", "prompts.txt")) | words

TRAIN = {
    "--config": inputs | st.just("config.yaml"),
    "--resume": inputs | st.just("run"),
    "--device": devices,
    "--json": outputs,
    "--dry-run": None,
}
INFERENCE = {
    "-p": words, "--prompts": inputs, "-n": words, "-cf": inputs, "-ci": number_words, "-m": inputs,
    "-lr": number_words, "-ls": number_words, "-mn": number_words, "-W": number_words, "-H": number_words,
    "-T": number_words, "-s": number_words, "--scheduler": words | st.just("unipc"), "-g": number_words,
    "-np": number_words, "-r": number_words, "-rn": number_words, "-B": number_words, "-o": outputs,
    "-f": number_words, "--gif": None, "--json": outputs, "-d": devices, "--mixed_precision": words,
    "--compile": None, "-x": None, "--gfi": None,
}  # fmt: skip
SCORERS = {
    "--output_dir": inputs | st.just("videos"), "--prompt": words, "--device": devices,
    "--batch_size": number_words, "--json": outputs, "--csv": outputs, "--source_video": inputs,
    "--baseline": inputs, "--clip_model": inputs, "--clip_ckpt": inputs, "--report": outputs,
    "--tracker": st.sampled_from(("flow", "cotracker", "x")), "--grid_size": number_words,
    "--height": number_words, "--width": number_words, "--cotracker_ckpt": inputs,
    "--imagereward_ckpt": inputs, "--controls": None,
}  # fmt: skip
SCRIPTS = {
    "clip_scores": (clip_scores, ["evaluation.clip_scorer.load_clip"]),
    "motion_discrepancy": (motion_discrepancy, ["evaluation.trackers.load_tracker"]),
    "imagereward": (imagereward, ["evaluation.image_reward.ImageRewardScorer"]),
    "evaluation": (
        evaluate,
        ["evaluation.clip_scorer.load_clip", "evaluation.trackers.load_tracker"],
    ),
}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any], trained: Run
) -> Path:
    """Where the scripts work: what they may find there, and two videos to score."""
    folder = tmp_path_factory.mktemp("flags")
    (folder / "there").mkdir()
    (folder / "file").write_text("no video, no weights")
    (folder / "prompts.txt").write_text("A dog.\n\nA cat.\n", encoding="utf-8")
    write_config(folder / "config.yaml", {**quick_values, "output_dir": "runs"})
    (folder / "run").symlink_to(trained.folder)
    entries: list[dict[str, Any]] = []
    for seed in (0, 1):
        frames = np.random.default_rng(seed).integers(0, 255, (3, 32, 32, 3), np.uint8)
        write_mp4(folder / "videos" / f"{seed}.mp4", frames, fps=8)
        entries.append({"file": f"{seed}.mp4", "prompt": "a dog", "seed": seed})
        entries[-1] |= {"negative_prompt": "", "checkpoint": "x", "settings": {}}
    manifest = {"format": 1, "videos": entries}
    (folder / "videos" / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def infer(folder: Path) -> Iterator[Callable[..., int]]:
    """Run inference.py up to where it reads weights."""
    good = ["-cf", "run", "-p", "A dog.", "-d", "cpu", "-o", "out"]
    with patched("motionmatcher.generation.generate.generate", begin):
        yield lambda *given: require_clean_end(inference.main, [*good, *given], folder)


@pytest.fixture(scope="module")
def start_training(folder: Path) -> Iterator[Callable[..., int]]:
    """Run train.py up to where it reads weights or counts a step's cost."""
    with (
        patched("motionmatcher.training.assembly.start_training", begin),
        patched("motionmatcher.cost.estimate.estimate_run", begin),
    ):
        yield lambda *given: require_clean_end(train.main, list(given), folder)


@pytest.fixture(scope="module", params=sorted(SCRIPTS))
def score(folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., int]]:
    """Run a scorer up to where it reads weights."""
    script, stops = SCRIPTS[request.param]
    good = ["--output_dir", "videos"]
    if request.param in ("motion_discrepancy", "evaluation"):
        good += ["--source_video", "videos/0.mp4"]
    if request.param == "motion_discrepancy":
        good += ["--tracker", "flow"]
    with contextlib.ExitStack() as stack:
        for stop in stops:
            stack.enter_context(patched(stop, begin))
        yield lambda *given: require_clean_end(script.main, [*good, *given], folder)


def test_good_command_lines_pass(
    infer: Callable[..., int], start_training: Callable[..., int]
) -> None:
    """Or else the others would find nothing but refusals."""
    assert infer("--prompts", "prompts.txt", "-rn", "3", "--json", "results.json") == 0
    assert start_training("--config", "config.yaml", "--dry-run", "--json", "results.json") == 0
    assert start_training("--resume", "run", "--device", "cpu", "max_train_steps=2") == 0


@cases(120)
@given(given=command_line(INFERENCE))
def test_inference(infer: Callable[..., int], given: list[str]) -> None:
    infer(*given)


@cases(60)
@given(given=command_line(TRAIN))
def test_train(start_training: Callable[..., int], given: list[str]) -> None:
    start_training(*given)


@cases(40)
@given(given=command_line(SCORERS))
def test_scorers(score: Callable[..., int], given: list[str]) -> None:
    score(*given)
