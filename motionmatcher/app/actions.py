"""What the page's buttons and fields do; each method takes the values of fields and gives others."""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import gradio as gr

from motionmatcher.app.commands import (
    BASE,
    REFERENCE,
    TRAINED,
    UNKNOWN,
    TrainingForm,
    comparing_commands,
    generating_command,
    read_form_settings,
    resuming_command,
    texts_of,
)
from motionmatcher.app.comparison import (
    newest_generation,
    read_scores,
    read_videos,
    write_reference,
)
from motionmatcher.app.curve import read_steps
from motionmatcher.app.doctor import examine
from motionmatcher.app.job import Job
from motionmatcher.app.pack import write_pack
from motionmatcher.app.show import (
    show_comparison,
    show_curve,
    show_error,
    show_findings,
    show_hint,
    show_job,
    show_log,
    show_pack,
    show_previews,
    show_progress,
    show_videos,
)
from motionmatcher.app.workshop import Workshop
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.files import slug, unused_path
from motionmatcher.paths import find_path
from motionmatcher.runs.run_folder import Run

TRAINING, GENERATING, COMPARING = "training", "generating", "comparing"
NO_CLIP = show_hint("Upload a clip, or choose settings that name one.")

Message = str


def telling(act: Callable[..., Message]) -> Callable[..., Message]:
    """Let an action say what is wrong in place of what it would say."""

    @wraps(act)
    def tell(*values: Any) -> Message:
        try:
            return act(*values)
        except UserError as error:
            return show_error(error)

    return tell


class Actions:
    """The page's actions."""

    def __init__(self, workshop: Workshop) -> None:
        """Let them act in a workshop."""
        self.workshop = workshop

    def read_config(self, config: str) -> tuple[Any, ...]:
        """Fill the fields with what a settings file says: clip, its prompt, previews' prompts, steps."""
        try:
            settings = read_form_settings(Path(config))
        except UserError:  # which the look at the clip says
            return None, gr.skip(), gr.skip(), gr.skip()
        data = settings.train_data.first
        clip = find_path(data.single_video_path)
        known = data.single_video_prompt != UNKNOWN
        return (
            clip if clip != UNKNOWN and Path(clip).is_file() else None,
            data.single_video_prompt if known else gr.skip(),
            "\n".join(settings.validation_data.prompt) if known else gr.skip(),
            settings.max_train_steps,
        )

    def keep_clip(self, upload: str | None) -> str | None:
        """Keep a clip that was uploaded."""
        return None if upload is None else str(self.workshop.keep_clip(Path(upload)))

    def examine_clip(self, clip: str | None, config: str, others: str) -> tuple[Any, ...]:
        """Look at the clip: what is found, the clip if it may be trained on, and better frames."""
        better = gr.update(visible=False, value=False)
        if clip is None:
            return NO_CLIP, None, (), better
        sheet = self.workshop.folder / "clips" / f"{slug(Path(clip).stem)}_frames.png"
        try:
            found = examine(Path(clip), Path(config), texts_of(others), sheet)
        except UserError as error:
            return show_error(error), None, (), better
        if found.overrides:
            label = f"Train on better frames: {' '.join(found.overrides)}"
            better = gr.update(visible=True, value=False, label=label)
        return show_findings(found), clip, found.overrides, better

    @telling
    def train(self, *fields: Any) -> Message:
        """Begin a training."""
        config, clip, clip_prompt, prompts, steps, others, use_better, better = fields
        form = TrainingForm(
            config=Path(config),
            clip=clip,
            clip_prompt=clip_prompt,
            prompts=texts_of(prompts),
            steps=steps,
            overrides=[*(better if use_better else ()), *texts_of(others)],
        )
        self.workshop.start(TRAINING, [form.command(self.workshop.folder / "runs")])
        return ""

    @telling
    def resume(self, run: str | None, steps: float | None) -> Message:
        """Let a run go on."""
        self.workshop.start(TRAINING, [resuming_command(_run(run), steps)])
        return ""

    @telling
    def stop(self) -> Message:
        """Stop what runs."""
        self.workshop.stop()
        return ""

    @telling
    def generate(self, run: str | None, prompts: str, *sampling: Any) -> Message:
        """Generate videos."""
        chosen = _run(run)
        self.workshop.require_idle()
        checkpoint, noise_prior, seed, repeats = sampling
        command = generating_command(
            chosen,
            texts_of(prompts),
            unused_path(self.workshop.videos_folder(chosen) / "videos"),
            checkpoint=checkpoint,
            noise_prior=noise_prior,
            seed=seed,
            repeats=repeats,
        )
        self.workshop.start(GENERATING, [command])
        return ""

    @telling
    def compare(self, run: str | None) -> Message:
        """Compare the last generation with the base."""
        chosen = _run(run)
        folder = newest_generation(self.workshop.videos_folder(chosen))
        if folder is None:
            raise UserError("nothing to compare yet: generate videos first.")
        self.workshop.require_idle()
        write_reference(chosen, folder)
        self.workshop.start(COMPARING, comparing_commands(chosen, folder))
        return ""

    @telling
    def pack(self, run: str | None, checkpoint: int | None) -> Message:
        """Make the file to take away."""
        chosen = _run(run)
        name = slug(self.workshop.name_of(chosen), max_bytes=120)
        path = self.workshop.folder / "packs" / f"{name}.zip"
        write_pack(chosen, path, checkpoint)
        return show_pack(path, "a motion pack, for inference.py --pack and for diffusers")

    def open_run(self, run: str | None) -> tuple[Any, ...]:
        """Fill the fields with what a run says: steps, checkpoint, noise prior, seed, prompts."""
        if run is None:
            return tuple(gr.skip() for _ in range(5))
        chosen = Run(Path(run))
        try:
            settings = _settings(chosen)
        except UserError:  # which the look at the run says
            return tuple(gr.skip() for _ in range(5))
        validation = settings.validation_data
        prompts = validation.prompt or settings.train_data.prompts
        return (
            settings.max_train_steps,
            _checkpoints(chosen),
            validation.noise_prior,
            validation.seed,
            "\n".join(prompts),
        )

    def list_runs(self, run: str | None) -> Any:
        """Offer the runs that there are; the one chosen stays, or else the newest is."""
        choices = [
            (self.workshop.name_of(found), str(found.folder)) for found in self.workshop.runs()
        ]
        folders = [folder for _, folder in choices]
        value = run if run in folders else next(iter(folders), None)
        return gr.update(choices=choices, value=value)

    def look(self, run: str | None, seen: dict[str, Any]) -> tuple[Any, ...]:
        """Look at the job and the run again; what is as it was seen last is left alone."""
        job = self.workshop.job
        trained = self.workshop.run_of_job()
        news: dict[str, Any] = {"runs": str(trained.folder) if trained else None}
        chosen = Run(Path(run)) if run else None
        try:
            news |= self._look_at_run(chosen, job)
        except UserError as error:
            news |= dict.fromkeys(("curve", "previews", "videos", "checkpoints"), "")
            news["progress"] = show_error(error)
        for part, names in (("training", (TRAINING,)), ("videos_job", (GENERATING, COMPARING))):
            news[part] = show_job(job if job and job.name in names else None)
        news["log"] = show_log(job)
        changed = {name: value for name, value in news.items() if seen.get(name) != value}
        updates = dict(changed)
        if "runs" in changed:
            updates["runs"] = self.list_runs(news["runs"] or run)
        if "checkpoints" in changed and chosen:
            updates["checkpoints"] = _checkpoints(chosen)
        return {**seen, **news}, *(updates.get(name, gr.skip()) for name in LOOKED_AT)

    def _look_at_run(self, run: Run | None, job: Job | None) -> dict[str, Any]:
        if run is None:
            hint = show_hint("No run yet.")
            return {
                "progress": hint,
                **dict.fromkeys(("curve", "previews", "videos", "checkpoints"), ""),
            }
        total, steps = _settings(run).max_train_steps, read_steps(run)
        trained = self.workshop.run_of_job()
        own = job if trained and trained.folder == run.folder else None
        folder = newest_generation(self.workshop.videos_folder(run))
        checkpoints = run.checkpoint_steps()
        return {
            "progress": show_progress(own, steps, total, checkpoints[-1] if checkpoints else 0),
            "curve": show_curve(steps, total),
            "previews": show_previews(run),
            "videos": _show_generation(folder) if folder else "",
            "checkpoints": checkpoints,
        }


# What `Actions.look` gives, after what was seen, in order.
LOOKED_AT = (
    *("runs", "checkpoints", "training", "progress", "curve", "previews"),
    *("videos_job", "videos", "log"),
)


def _show_generation(folder: Path) -> str:
    trained, base = read_videos(folder / TRAINED), read_videos(folder / BASE)
    if not base or not (folder / REFERENCE).is_file():
        return show_videos(trained)
    return show_comparison(folder, trained, base, read_scores(folder))


def _run(run: str | None) -> Run:
    if run is None:
        raise UserError("no run: train one, or choose one.")
    return Run(Path(run))


def _checkpoints(run: Run) -> Any:
    steps = run.checkpoint_steps()
    return gr.update(choices=steps, value=steps[-1] if steps else None)


def _settings(run: Run) -> TrainSettings:
    return _read_settings(run, run.config_file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_settings(run: Run, changed_ns: int) -> TrainSettings:
    settings = run.settings()
    assert settings is not None  # only runs that have them are offered
    return settings
