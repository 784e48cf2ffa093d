"""The commands that do what the page's fields say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motionmatcher.app.job import Command
from motionmatcher.config.loading import load_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.config.yaml_layers import escape
from motionmatcher.errors import UserError
from motionmatcher.files import slug
from motionmatcher.runs.manifest import read_manifest
from motionmatcher.runs.run_folder import Run

# Stand for the clip where settings are read before it is known.
UNKNOWN = "?"
ONE_CLIP = ("train_data.clips=[]",)  # a form has one, whatever its settings list
UNKNOWN_CLIP = tuple(f"train_data.single_video_{what}={UNKNOWN}" for what in ("path", "prompt"))
# Folders and files of one generation.
TRAINED, BASE, SCORES, REFERENCE = "trained", "base", "scores.json", "reference.mp4"


@dataclass(frozen=True, kw_only=True)
class TrainingForm:
    """What the page's fields say of a training.

    Attributes:
        config: The settings file.
        clip: The reference clip.
        clip_prompt: What it shows.
        prompts: Of the previews.
        steps: Updates to make; None of an empty field.
        overrides: `key=value` each; other settings, the last word.
    """

    config: Path
    clip: str | None
    clip_prompt: str
    prompts: Sequence[str]
    steps: float | None
    overrides: Sequence[str] = ()

    def command(self, folder: Path) -> Command:
        """Make the command, checked as far as the settings go.

        Args:
            folder: Gets a folder of the clip's name, and in it the run.

        Raises:
            UserError: A field or the settings file is wrong.
        """
        if not self.clip:
            raise UserError("no clip: upload one, or choose settings that name one.")
        prompts = json.dumps([escape(prompt) for prompt in self.prompts], ensure_ascii=False)
        overrides = [
            f"train_data.single_video_path={self.clip}",
            f"train_data.single_video_prompt={self.clip_prompt.strip()}",
            f"validation_data.prompt={prompts}",
            *(ONE_CLIP if _lists_clips(self.config) else ()),
            f"max_train_steps={_whole(self.steps, 'steps')}",
            f"output_dir={folder / slug(Path(self.clip).stem)}",
            *self.overrides,
        ]
        load_settings(self.config, overrides)
        return Command("train.py", ("--config", str(self.config), *overrides))


def _lists_clips(config: Path) -> bool:
    """Tell whether settings are for several clips, of which a form has one."""
    try:
        return bool(load_settings(config).train_data.clips)
    except UserError:  # they name none
        return False


def read_form_settings(config: Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """Read settings for what they say beside the clip, which they need not name."""
    named = load_settings(config, [*UNKNOWN_CLIP, *ONE_CLIP, *overrides])
    try:
        return load_settings(config, overrides)
    except UserError:
        return named


def resuming_command(run: Run, steps: float | None) -> Command:
    """Make the command that lets a run go on, to a number of steps in all."""
    settings, wanted = run.settings(), _whole(steps, "steps")
    further = settings is None or settings.max_train_steps != wanted
    changes = (f"max_train_steps={wanted}",) if further else ()
    return Command("train.py", ("--resume", str(run.folder), *changes))


def generating_command(
    run: Run,
    prompts: Sequence[str],
    folder: Path,
    *,
    checkpoint: int | None,
    noise_prior: float,
    seed: float | None,
    repeats: float | None,
) -> Command:
    """Make the command that generates a run's videos.

    Args:
        run: The run.
        prompts: What to show.
        folder: Gets them in its folder `TRAINED`.
        checkpoint: Its step; None for the last.
        noise_prior: Share of the reference's noise in the start noise.
        seed: Of each prompt's first video.
        repeats: Videos of each prompt.
    """
    if not prompts:
        raise UserError("no prompt: say what the videos shall show, one prompt a line.")
    where = () if checkpoint is None else (f"--checkpoint_index={checkpoint}",)
    sampling = (
        f"--noise_prior={noise_prior:g}",
        f"--seed={_whole(seed, 'seed')}",
        f"--repeat_num={_whole(repeats, 'videos of each prompt')}",
    )
    return _inference(run.folder, prompts, (*where, *sampling), folder / TRAINED)


def comparing_commands(run: Run, folder: Path) -> list[Command]:
    """Make the commands that compare a generation with the base alone and score both.

    Args:
        run: The run.
        folder: Of the generation; its folder `BASE` gets the base's videos of the same prompts and
            seeds, its file `SCORES` the scores. What is there already is taken as it is.
    """
    made = read_manifest(folder / TRAINED)
    if not made:
        raise UserError("nothing to compare yet: generate videos first.")
    commands = []
    if len(read_manifest(folder / BASE)) < len(made):
        prompts = list(dict.fromkeys(str(entry["prompt"]) for entry in made))
        seeds = sorted({int(entry["seed"]) for entry in made})
        flags = (
            "--lora_scale=0",
            "--noise_prior=0",
            f"--seed={seeds[0]}",
            f"--repeat_num={len(seeds)}",
        )
        commands.append(_inference(run.folder, prompts, flags, folder / BASE))
    scoring = (
        *("--source_video", str(folder / REFERENCE), "--tracker", "flow", "--controls"),
        *("--output_dir", str(folder / TRAINED), str(folder / BASE)),
        *("--json", str(folder / SCORES)),
    )
    return [*commands, Command("motion_discrepancy.py", scoring)]


def texts_of(field: str | None) -> list[str]:
    """Split a field into its lines; blank ones do not count."""
    return [line.strip() for line in (field or "").splitlines() if line.strip()]


def _inference(
    run: Path, prompts: Sequence[str], flags: Sequence[str], output_dir: Path
) -> Command:
    # As one word each: a prompt may begin with a hyphen.
    texts = (f"--prompt={prompt}" for prompt in prompts)
    return Command(
        "inference.py",
        ("--checkpoint_folder", str(run), *texts, *flags, "--output_dir", str(output_dir)),
    )


def _whole(value: float | None, name: str) -> int:
    if value is None or value != int(value):
        raise UserError(
            f"{name} must be a whole number, not {value if value is not None else 'empty'}."
        )
    return int(value)
