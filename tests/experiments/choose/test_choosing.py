"""The whole choice on a small random base: videos, scores, page, choice.json, and going on after a stop."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from launching import run_script, train_in_process, write_config

from evaluation.scorers import ScorerSettings
from experiments.choose import __main__ as program
from experiments.choose.choosing import Chosen, choose, preview_prompts
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.sampling import sample_latents
from motionmatcher.errors import UserError
from motionmatcher.generation.request import make_request
from motionmatcher.runs.choice import read_choice
from motionmatcher.runs.run_folder import Run

PROMPTS = ["A circle moves.", "A <b>star</b> moves."]
GENERATOR = "motionmatcher.generation.generate"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    validation = {"prompt": PROMPTS, "seed": 3, "num_inference_steps": 2}
    changes = {"validation_data": validation, "validation_steps": 100, "learning_rate": 0.1}
    values = {**quick_values, **changes, "output_dir": str(folder)}
    return train_in_process(write_config(folder / "config.yaml", values))


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A run of its own for each test."""
    return Run(Path(shutil.copytree(trained.folder, tmp_path / "train_x")))


@pytest.fixture
def chosen_of(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Chosen]:
    """Choose among few settings, by the flow tracker and a small random CLIP.

    Four small frames bear no metric out; here they count as if they did.
    """
    monkeypatch.setattr("experiments.choose.choosing.doubts", lambda *_: {})

    def make(run: Run, **changes: Any) -> Chosen:
        scorers = ScorerSettings(tracker="flow", clip_model=str(clip_folder), grid_size=8)
        given = {"noise_priors": [0.0, 0.5], "num_seeds": 1, "scorers": scorers, "device": "cpu"}
        return choose(run.folder, **{**given, **changes})

    return make


def test_a_choice_is_made_shown_and_taken(chosen_of: Callable[..., Chosen], run: Run) -> None:
    chosen = chosen_of(run)
    decision = chosen.decision
    settings = [trial.setting for trial in decision.trials]
    assert [(each.checkpoint, each.noise_prior) for each in settings] == [
        (2, 0.0),
        (2, 0.5),
        (4, 0.0),
        (4, 0.5),
    ]
    for trial in (*decision.trials, decision.base):
        assert [(video.prompt, video.seed) for video in trial.videos] == [(p, 3) for p in PROMPTS]
        assert all(video.path.is_file() for video in trial.videos)
    of_base = decision.base.videos[0].values
    assert of_base["colours_taken_over"] == of_base["looks_taken_over"] == 0

    assert decision.chosen in settings
    assert read_choice(run.folder) == decision.chosen
    request = make_request(run.folder, ["A cat."], output_dir=run.folder / "out")
    assert request.checkpoint == run.checkpoint_folder(decision.chosen.checkpoint)
    assert request.sampling.noise_prior == decision.chosen.noise_prior
    assert "choice.json" in request.notes[0]

    page = chosen.page.read_text(encoding="utf-8")
    assert escape(decision.line) in page
    assert page.count("<video") == 1 + 5 * 2  # the reference, then base and settings
    assert "A &lt;b&gt;star" in page
    _, row = page.split('<tr class="chosen">')
    assert row.index("<video") < row.index('class="note interval"'), "people look first"
    assert chosen.page.with_name("tradeoff.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads(chosen.page.with_name("results.json").read_text())
    assert results["trials"][0]["checkpoint"] == 2
    assert results["line"] == decision.line


def test_videos_of_a_setting_are_those_of_inference(
    chosen_of: Callable[..., Chosen], run: Run
) -> None:
    from motionmatcher import generate

    trial = chosen_of(run, checkpoints=[2], noise_priors=[0.5]).decision.trials[0]
    (run.folder / "choice.json").unlink()
    options: dict[str, Any] = {"checkpoint": 2, "noise_prior": 0.5, "repeat_num": 1}
    again = generate(run, PROMPTS, device="cpu", output_dir=run.folder / "out", **options)
    pairs = zip(trial.videos, again, strict=True)
    assert all(video.path.read_bytes() == other.path.read_bytes() for video, other in pairs)


def test_where_nothing_can_be_trusted_nothing_is_chosen(
    chosen_of: Callable[..., Chosen], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "experiments.choose.choosing.doubts",
        lambda metrics, *_: {metric.name: "it stands still" for metric in metrics},
    )
    chosen = chosen_of(run, checkpoints=[2], noise_priors=[0.0])
    assert chosen.decision.chosen is None
    assert "not to be trusted on this clip: Motion discrepancy: it stands still" in chosen.notes
    assert read_choice(run.folder) is None
    assert "No setting is recommended" in chosen.page.read_text(encoding="utf-8")


def everything(folder: Path) -> dict[str, bytes]:
    """All files of a folder that are results, by their path in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_stopped_and_called_again_nothing_is_made_twice(
    chosen_of: Callable[..., Chosen], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chosen_of(run, num_seeds=2)
    expected = everything(whole.page.parent)
    shutil.rmtree(whole.page.parent)
    made: list[list[int]] = []

    def stopping(*arguments: Any) -> Any:
        made.append(arguments[3])
        if len(made) == 6:  # the base's four, then within a setting
            raise KeyboardInterrupt
        return sample_latents(*arguments)

    monkeypatch.setattr(f"{GENERATOR}.sample_latents", stopping)
    with pytest.raises(KeyboardInterrupt):
        chosen_of(run, num_seeds=2)
    again = chosen_of(run, num_seeds=2)
    assert len(made) == 1 + 5 * 2 * 2
    assert again.decision == whole.decision
    assert everything(again.page.parent) == expected

    monkeypatch.setattr(f"{GENERATOR}.load_base_model", lambda *_: pytest.fail("loaded"))
    monkeypatch.setattr("experiments.choose.videos.Scorer._score", lambda *_: pytest.fail("scored"))
    assert chosen_of(run, num_seeds=2).decision == whole.decision
    assert everything(again.page.parent) == expected


def test_a_checkpoint_that_was_trained_anew_gets_new_videos(
    chosen_of: Callable[..., Chosen], run: Run
) -> None:
    before = chosen_of(run, checkpoints=[2], noise_priors=[0.0]).decision
    shutil.rmtree(run.checkpoint_folder(2) / "lora")
    shutil.copytree(run.checkpoint_folder(4) / "lora", run.checkpoint_folder(2) / "lora")
    after = chosen_of(run, checkpoints=[2], noise_priors=[0.0]).decision
    assert before.trials[0].videos[0].path.parent != after.trials[0].videos[0].path.parent
    assert before.base.videos == after.base.videos


def test_what_a_budget_allows_is_settled_once(
    chosen_of: Callable[..., Chosen], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1.5, 99.0])  # for 10 videos at one seed, and 20 at two
    studio = "experiments.choose.videos.Studio.seconds_per_video"
    monkeypatch.setattr(studio, lambda *_: next(seconds))
    monkeypatch.setattr("experiments.choose.choosing.time.monotonic", lambda: 0.0)
    first = chosen_of(run, num_seeds=2, budget_minutes=0.25)
    assert first.grid.num_seeds == 1
    assert chosen_of(run, num_seeds=2, budget_minutes=0.25).grid == first.grid
    with pytest.raises(UserError, match=r"--budget is too small.*99\.0 s a video"):
        chosen_of(run, num_seeds=2, budget_minutes=0.26)


def test_a_video_s_seconds_are_measured_on_what_is_missing(
    chosen_of: Callable[..., Chosen], run: Run
) -> None:
    chosen = chosen_of(run, checkpoints=[2], noise_priors=[0.0], budget_minutes=1000)
    plan = json.loads((chosen.page.parent / "plan.json").read_text())
    assert plan["seconds_per_video"] > 0
    assert plan["grid"]["num_seeds"] == 1
    chosen_of(run, checkpoints=[2], noise_priors=[0.0], budget_minutes=0.001)  # all is there


def test_prompts_are_the_previews_and_not_the_reference_s_own(quick_values: dict[str, Any]) -> None:
    def prompts(*previewed: str) -> list[str]:
        values = {**quick_values, "validation_data": {"prompt": list(previewed)}}
        return preview_prompts(parse_settings(TrainSettings, values, "test"))

    assert prompts("A square moves.", "A cat. ", "A cat.") == ["A cat."]
    assert prompts("A square moves.") == prompts() == ["A square moves."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], r"nowhere: there is no such run folder"),
        (["RUN", "--checkpoints", "3"], r"has no checkpoint-3; there are: 2, 4"),
        (["RUN", "--noise_priors", "2"], r"--noise_priors must be at most 1, not 2"),
        (["RUN", "--noise_priors", "much"], r"argument --noise_priors: 'much' is not a number"),
        (["RUN", "--budget", "0"], r"argument --budget: '0' is not a number of minutes above 0"),
        (["RUN", "--seeds", "0"], r"'0' is not a whole number from 1"),
        (["RUN", "--budgt", "3"], r"unknown flag --budgt. Did you mean '--budget'\?"),
        (["RUN", "--clip_model", "mine"], r"--clip_model mine is neither"),
    ],
)
def test_bad_input_is_one_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = [str(run.folder) if argument == "RUN" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["choose", *given])
    with pytest.raises((UserError, SystemExit)) as stopped:
        program.main()
    text = str(stopped.value) if isinstance(stopped.value, UserError) else capsys.readouterr().err
    assert re.search(message, text), text
    assert not (run.folder / "choose").exists()


def test_runs_that_nothing_can_be_chosen_for(
    chosen_of: Callable[..., Chosen], run: Run, tmp_path: Path
) -> None:
    (run.folder / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"has no config\.yaml, as published runs have none"):
        chosen_of(run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no checkpoints"):
        chosen_of(Run(tmp_path / "empty"))


def test_the_program_says_the_recommendation_last(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    clip_folder: Path,
) -> None:
    file = tmp_path / "choice-results.json"
    flags = ["--noise_priors", 0, "--checkpoints", 4, "--seeds", 1, "--tracker", "flow"]
    flags += ["--clip_model", clip_folder, "--device", "cpu", "--json", file]
    assert run_script(monkeypatch, program.main, run.folder, *flags) == 0
    printed = capsys.readouterr().out
    content = json.loads(file.read_text())
    assert printed.splitlines()[-1] == content["line"]
    assert "1 seeds: 4 videos" in printed
