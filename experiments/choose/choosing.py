"""Try a run's settings of sampling, and choose one by the rule of docs/choosing.md."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.controls import doubts, score_controls
from evaluation.folders import ReferenceVideo
from evaluation.metrics import CLIP, MOTION, Metric
from evaluation.scorers import Models, ScorerSettings, check_scorers, load_models
from experiments.choose.grid import NOISE_PRIORS, NUM_SEEDS, Grid, check_grid, fit_to_budget
from experiments.choose.page import write_page
from experiments.choose.rule import Decision, decide
from experiments.choose.trials import BASE, Trial
from experiments.choose.videos import Studio
from experiments.jobs.resumable import exclusive
from experiments.paper_table.motions import read_trained_frames
from motionmatcher.config.settings import TrainSettings
from motionmatcher.devices import choose_device
from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.generation.request import make_request
from motionmatcher.reporting import progress_bar, say
from motionmatcher.runs.choice import write_choice
from motionmatcher.runs.run_folder import Run
from motionmatcher.text_files import read_json

FOLDER_NAME = "choose"
RESULTS_NAME = "results.json"


@dataclass(frozen=True)
class Chosen:
    """The outcome.

    Attributes:
        decision: What was tried and chosen.
        grid: What was tried, as cut down to the budget.
        metrics: What was measured.
        notes: What was left out, and what is not to be trusted.
        page: The page to look at.
    """

    decision: Decision
    grid: Grid
    metrics: Sequence[Metric]
    notes: Sequence[str]
    page: Path


def choose(
    run: Run | Path | str,
    *,
    checkpoints: Sequence[int] | None = None,
    noise_priors: Sequence[float] = NOISE_PRIORS,
    lora_scales: Sequence[float] | None = None,
    num_seeds: int = NUM_SEEDS,
    budget_minutes: float | None = None,
    scorers: ScorerSettings | None = None,
    device: str = "auto",
) -> Chosen:
    """Try settings on a run's preview prompts, choose one, and make it inference's default.

    Args:
        run: A run of ours, which knows its reference clip.
        checkpoints: Steps; all by default.
        noise_priors: Shares of the reference's noise in the start noise.
        lora_scales: Scales of the LoRA; the run's own by default.
        num_seeds: Videos of each prompt and setting, from the previews' seed on.
        budget_minutes: Time for all; the grid is cut down to it. None for the whole grid.
        scorers: Which models score.
        device: auto, cpu, cuda, cuda:1, mps, …

    Returns:
        The outcome; `RUN/choice.json` and the page in `RUN/choose/` are written.

    Raises:
        UserError: It is no such run, something does not fit, or the budget is too small.
    """
    started = time.monotonic()
    where = choose_device(device)
    scorers = scorers or ScorerSettings()
    opened = run if isinstance(run, Run) else Run.open(run)
    settings = opened.settings()
    if settings is None:
        raise UserError(
            f"{opened.folder} has no config.yaml, as published runs have none, so nobody knows its "
            "reference clip: choose by eye, with --checkpoint_index and --noise_prior of inference.py."
        )
    asked = Grid(
        tuple(sorted(set(checkpoints or opened.checkpoint_steps()))),
        tuple(sorted(set(noise_priors))),
        tuple(dict.fromkeys(lora_scales or [settings.validation_data.lora_scale])),
        num_seeds,
    )
    check_grid(asked, opened)
    check_scorers(scorers, (CLIP, MOTION))
    folder = opened.folder / FOLDER_NAME
    prompts = preview_prompts(settings)
    request = make_request(
        opened.folder,
        prompts,
        checkpoint=asked.checkpoints[-1],
        noise_prior=asked.noise_priors[-1],
        lora_scale=asked.lora_scales[0],
        repeat_num=num_seeds,
        output_dir=folder / "videos",
    )
    reference = read_reference(opened, settings)
    with exclusive(folder, ".choose-"):
        models = load_scorers(scorers, str(where))
        models.print_left_out()
        studio = Studio(request, reference.frames, models, where)
        grid = plan(studio, asked, budget_minutes, started, folder / "plan.json")
        say(grid.describe(len(prompts)))
        trials = []
        seeds = [request.seed + index for index in range(grid.num_seeds)]
        for setting in progress_bar([BASE, *grid.settings], "settings"):
            trials.append(Trial(setting, studio.videos(setting, seeds)))
        scorer = studio.scorer
        controls = score_controls(scorer.motion, reference.frames, quiet=True)
        doubted = doubts(scorer.motion.metrics, controls, reference.frames)
        decision = decide(trials[1:], trials[0], doubted)
        labels = {metric.name: metric.label for metric in scorer.metrics}
        notes = [
            *(f"left out: {reason}" for reason in models.left_out),
            *(
                f"not to be trusted on this clip: {labels[name]}: {why}"
                for name, why in doubted.items()
            ),
        ]
        chosen = Chosen(decision, grid, scorer.metrics, notes, folder / "index.html")
        write_outcome(opened, chosen, reference)
    return chosen


def preview_prompts(settings: TrainSettings) -> list[str]:
    """List the run's preview prompts; the reference's own only where there is no other."""
    own = settings.train_data.prompts
    others = [prompt for prompt in settings.validation_data.prompt if prompt not in own]
    return list(dict.fromkeys(prompt.strip() for prompt in others or own))


def read_reference(run: Run, settings: TrainSettings) -> ReferenceVideo:
    """Read the frames that a run was trained on, of several clips the first one's."""
    data = settings.train_data.first
    clip = run.find_path(data.single_video_path)
    frames = read_trained_frames(replace(data, single_video_path=clip))
    return ReferenceVideo(Path(clip), frames, data.fps)


def load_scorers(settings: ScorerSettings, device: str) -> Models:
    """Load a tracker and, where its weights are available, CLIP."""
    models = load_models(settings, (MOTION,), device)
    try:
        return replace(models, encoder=load_models(settings, (CLIP,), device).encoder)
    except UserError as error:
        left_out = f"CLIP; looks are compared by their colours alone: {error}"
        return replace(models, left_out=[*models.left_out, left_out])


def plan(
    studio: Studio, asked: Grid, budget_minutes: float | None, started: float, file: Path
) -> Grid:
    """Settle what is tried: what was asked for, or as much of it as the budget allows.

    What a budget allows is measured once and kept, so that a run that was interrupted tries the same.
    """
    if budget_minutes is None:
        return asked
    question = {"asked": asked.as_dict(), "budget_minutes": budget_minutes}
    known = read_json(file, "Delete it.") if file.is_file() else None
    if isinstance(known, dict) and known.get("question") == question:
        return Grid.of_dict(known["grid"])
    num_prompts = len(studio.request.prompts)
    seeds = [studio.request.seed + index for index in range(asked.num_seeds)]
    per_video = studio.seconds_per_video([BASE, *asked.settings], seeds)
    left = 60 * budget_minutes - (time.monotonic() - started)
    grid = fit_to_budget(asked, num_prompts, left, per_video)
    write_json(file, {"question": question, "grid": grid.as_dict(), "seconds_per_video": per_video})
    return grid


def write_outcome(run: Run, chosen: Chosen, reference: ReferenceVideo) -> None:
    """Write page, plot, figures and, last, the choice."""
    decision = chosen.decision
    write_page(chosen.page, run.folder.name, decision, reference, chosen.metrics, chosen.notes)
    write_json(chosen.page.with_name(RESULTS_NAME), as_dict(chosen))
    if decision.chosen is not None:
        write_choice(run.folder, decision.chosen, {"why": decision.line})


def as_dict(chosen: Chosen) -> dict[str, Any]:
    """Put the outcome into plain JSON types."""
    decision = chosen.decision
    return {
        "chosen": None if decision.chosen is None else asdict(decision.chosen),
        "line": decision.line,
        "motion": decision.motion and decision.motion.name,
        "looks": decision.looks.name,
        "grid": chosen.grid.as_dict(),
        "notes": list(chosen.notes),
        "base": _trial_as_dict(decision.base, chosen),
        "trials": [
            asdict(trial.setting) | _trial_as_dict(trial, chosen) for trial in decision.trials
        ],
        "page": str(chosen.page),
    }


def _trial_as_dict(trial: Trial, chosen: Chosen) -> dict[str, Any]:
    return {
        "mean": {metric.name: vars(trial.interval(metric)) for metric in chosen.metrics},
        "videos": [
            {
                "file": str(video.path.relative_to(chosen.page.parent)),
                "prompt": video.prompt,
                "seed": video.seed,
                "scores": dict(video.values),
            }
            for video in trial.videos
        ],
    }
