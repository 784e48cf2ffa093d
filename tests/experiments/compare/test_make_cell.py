"""One cell, trained by the ordinary trainer and sampled, on a small base with random weights."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from launching import PROJECT

import motionmatcher
from experiments.compare import make_cell as module
from experiments.compare.bench import Bench, open_bench
from experiments.compare.cells import Cell, CellJob
from experiments.compare.config import load_comparison
from experiments.compare.make_cell import make_cell, video_seed
from experiments.compare.methods import BASE
from experiments.compare.rows import rows_of, write_rows
from motionmatcher.clips.video import Frames
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import DivergedError, NotFiniteError, UserError
from testbed.measurement import measure_video
from testbed.tracker import ClipMeasurement
from testbed.truth import read_truth

SAMPLINGS = ((1, 0.0), (2, 0.0), (2, 0.3))
CELL = Cell("denoising", "spiral", 0, SAMPLINGS, "open", "unsaid", (), 3e-3, kept_step=2)
BASE_CELL = Cell(BASE, "spiral", 0, ((0, 0.0), (0, 0.3)), kept_step=0)


@pytest.fixture(scope="module")
def bench(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("cells")
    shared = {"base": str(PROJECT / "configs/moving_shapes.yaml"), "lora_rank": 2}
    shared |= {"lora_targets": ["attention"]}
    (folder / "train.yaml").write_text(yaml.safe_dump(shared))
    full = load_comparison(PROJECT / "experiments/compare/unet.yaml")
    config = dataclasses.replace(
        full,
        train_config=str(folder / "train.yaml"),
        cells_dir=str(folder / "cells"),
        prompts=full.prompts[:2],
        num_inference_steps=2,
    )
    return open_bench(config, str(tiny_base))


@pytest.fixture(scope="module")
def made(bench: Bench) -> dict[str, Any]:
    make_cell(bench.job(CELL))
    (result,) = bench.results([CELL])
    return result


def elsewhere(bench: Bench, folder: Path, cell: Cell = CELL) -> CellJob:
    """The same cell, to be made once more in another folder."""
    job = bench.job(cell)
    return dataclasses.replace(job, result=folder / "cells" / job.result.name)


def read(job: CellJob) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(job.result.read_text(encoding="utf-8"))
    return content


def metrics_of_nothing(bench: Bench, prompt: int) -> dict[str, float]:
    truth = read_truth(bench.config.clip("spiral"))
    wanted = dataclasses.asdict(bench.config.prompts[prompt])
    metrics = measure_video(ClipMeasurement.of_nothing(8), wanted, truth)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def test_a_cell_has_a_video_for_each_sampling_and_prompt(bench: Bench, made: dict) -> None:
    places = [(v["step"], v["noise_prior"], v["prompt"], v["sample"]) for v in made["videos"]]
    assert places == [(*sampling, prompt, 0) for sampling in SAMPLINGS for prompt in (0, 1)]
    errors = [video["metrics"]["path_error"] for video in made["videos"]]
    assert all(math.isfinite(error) for error in errors)
    assert made["diverged"] is None
    assert made["training_seconds"] > 0
    assert made["sampling_seconds"] > 0


def test_a_cell_tells_its_identity_and_the_state_of_the_program(bench: Bench, made: dict) -> None:
    job = bench.job(CELL)
    assert made["identity"] == json.loads(json.dumps(job.identity))
    assert made["identity"]["base"] == bench.fingerprint
    assert made["code_version"] == job.code_version
    assert read(job)["cell"]["samplings"] == [list(sampling) for sampling in SAMPLINGS]


def test_the_reference_is_kept_by_the_clips_content_and_the_training_is_not(
    bench: Bench, made: dict
) -> None:
    content = (PROJECT / "resources/reference_videos/spiral.mp4").read_bytes()
    folder = bench.job(CELL).result.parent
    kept = folder / "references" / f"spiral-{hashlib.sha256(content).hexdigest()[:16]}"
    assert len(list(kept.glob("latents-*.safetensors"))) == 1
    assert not list(folder.glob(".training-*"))


def kept_file(job: CellJob) -> Path:
    return job.result.with_suffix(".npz")


@dataclass
class Watched:
    """What the trainer and the sampler were called with."""

    trained: list[tuple[TrainSettings, dict[str, Any]]] = field(default_factory=list)
    sampled: list[tuple[float, int, list[int]]] = field(default_factory=list)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    found, sample_latents = Watched(), module.sample_latents

    def train(settings: TrainSettings, **options: Any) -> Any:
        found.trained.append((settings, options))
        return motionmatcher.train(settings, **options)

    def sample(base: Any, states: Any, negative: Any, seeds: Any, settings: Any, noise: Any) -> Any:
        found.sampled.append((settings.noise_prior, settings.min_timestep, seeds))
        return sample_latents(base, states, negative, seeds, settings, noise)

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "sample_latents", sample)
    return found


def test_a_cell_made_again_gives_its_rows_to_the_byte(
    bench: Bench, made: dict, watched: Watched, tmp_path: Path
) -> None:
    job = elsewhere(bench, tmp_path)
    make_cell(job)
    for name, result in (("first", made), ("second", read(job))):
        write_rows(tmp_path / name, rows_of("report", [result]))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    first, second = (np.load(kept_file(each))["frames"] for each in (bench.job(CELL), job))
    assert first.shape == (2, 8, 64, 64, 3)  # of each prompt, of step 2 without noise prior
    assert np.array_equal(first, second)

    ((settings, options),) = watched.trained  # by the package's own trainer
    assert settings == dataclasses.replace(job.settings, output_dir=settings.output_dir)
    assert (settings.min_timestep, settings.objective) == (1, "denoising")
    assert settings.train_data.single_video_prompt == "a square"
    assert options == {"device": "cpu"}
    seeds = [video_seed(CELL, prompt.text, 0) for prompt in bench.config.prompts]
    assert watched.sampled == [(noise_prior, 1, seeds) for _, noise_prior in SAMPLINGS]


def test_the_base_is_not_trained_and_starts_from_the_same_noises(
    bench: Bench, watched: Watched, tmp_path: Path
) -> None:
    job = elsewhere(bench, tmp_path, dataclasses.replace(BASE_CELL, kept_step=None))
    make_cell(job)
    assert not watched.trained
    seeds = [video_seed(CELL, prompt.text, 0) for prompt in bench.config.prompts]
    assert [(prior, start) for prior, _, start in watched.sampled] == [(0.0, seeds), (0.3, seeds)]
    assert [video["step"] for video in read(job)["videos"]] == [0] * 4
    assert not kept_file(job).exists()


def test_videos_of_all_methods_start_from_the_same_noise() -> None:
    seed = video_seed(CELL, "a red star", 0)
    assert seed == video_seed(BASE_CELL, "a red star", 0)
    others = [
        video_seed(CELL, "a red star", 1),
        video_seed(CELL, "a blue star", 0),
        video_seed(dataclasses.replace(CELL, seed=1), "a red star", 0),
        video_seed(dataclasses.replace(CELL, motion="swing"), "a red star", 0),
    ]
    assert len({seed, *others}) == 5


def test_a_training_that_diverges_counts_as_videos_without_an_object(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(settings: Any, **_: Any) -> Any:
        (Path(settings.output_dir) / "train_now").mkdir()
        raise DivergedError("the loss is nan at step 1")

    monkeypatch.setattr(module, "train", diverge)
    job = elsewhere(bench, tmp_path)
    make_cell(job)
    result = read(job)
    assert result["diverged"] == "the loss is nan at step 1"
    assert len(result["videos"]) == 3 * 2
    for video in result["videos"]:
        assert video["metrics"] == metrics_of_nothing(bench, video["prompt"])
    frames: Frames = np.load(kept_file(job))["frames"]
    assert frames.shape == (2, 8, 64, 64, 3)
    assert not frames.any()


def test_videos_that_explode_count_as_nothing_unless_they_are_the_bases(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any) -> Any:
        raise NotFiniteError("NaN or infinity in the generated latents")

    class Trained:
        def checkpoint_steps(self) -> list[int]:
            return [1, 2]

        def find_checkpoint(self, step: int) -> Path:
            return Path()

    monkeypatch.setattr(module, "_train", lambda *_: (Trained(), None))
    monkeypatch.setattr(module, "load_lora", lambda *_: None)
    monkeypatch.setattr(module, "sample_latents", explode)
    job = elsewhere(bench, tmp_path)
    make_cell(job)
    result = read(job)
    assert result["diverged"] is None
    for video in result["videos"]:
        assert video["metrics"] == metrics_of_nothing(bench, video["prompt"])
    of_the_base = elsewhere(bench, tmp_path, BASE_CELL)
    with pytest.raises(NotFiniteError):
        make_cell(of_the_base)
    assert not of_the_base.result.exists()


def test_an_interrupted_training_leaves_nothing_half(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped:
        finished = False

    monkeypatch.setattr(module, "train", lambda *_, **__: Stopped)
    job = elsewhere(bench, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make_cell(job)
    assert not list(job.result.parent.iterdir())


def test_no_other_error_counts_as_divergence(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise UserError("the clip is gone")

    monkeypatch.setattr(module, "train", fail)
    job = elsewhere(bench, tmp_path)
    with pytest.raises(UserError, match="the clip is gone"):
        make_cell(job)
    assert not list(job.result.parent.iterdir())


def test_a_base_that_changes_meanwhile_is_refused(bench: Bench, tmp_path: Path) -> None:
    job = elsewhere(bench, tmp_path, BASE_CELL)
    changed = dataclasses.replace(job, identity={**job.identity, "base": "other"})
    with pytest.raises(UserError, match=r"was changed while the comparison ran: .* --base$"):
        make_cell(changed)
    assert not job.result.exists()
