"""The motions of a benchmark: the run and the videos that each has already, and what is missing.

A motion is a config. Everything made for it lies in a folder of its own:

    NAME/config.yaml    its settings, resolved, as they are given to train.py
    NAME/train_<time>/  the run; videos/ in it are those of its last checkpoint
    NAME/log.txt        what the programs printed
    NAME/report.html    the page to look at
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from evaluation.folders import OutputFolder, open_folder, read_outputs
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.video import Frames, read_clip
from motionmatcher.config.loading import load_settings
from motionmatcher.config.settings import TrainData, TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.paths import find_path
from motionmatcher.random_streams import check_seeds
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checks import check_training

CLIP_KEY = "train_data.single_video_path"
# What else a config must say; files to build on may leave it to the configs.
OTHER_KEYS = ("pretrained_model_path", "train_data.single_video_prompt")


class Take(NamedTuple):
    """What makes a video this one among all of its run."""

    prompt: str
    seed: int


class Series(NamedTuple):
    """Videos that one call of inference.py makes: of each prompt, `repeat_num` from `seed` on."""

    prompts: tuple[str, ...]
    seed: int
    repeat_num: int


class Failure(NamedTuple):
    """A motion that is not in the table, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Motion:
    """One motion of the benchmark.

    Attributes:
        name: The config's file name without `config_` and `.yaml`.
        folder: Where everything made for it lies.
        settings: Its settings, checked, with sizes and seeds resolved.
        repeat_num: Videos per prompt.
    """

    name: str
    folder: Path
    settings: TrainSettings
    repeat_num: int

    @property
    def config_file(self) -> Path:
        """The resolved settings."""
        return self.folder / "config.yaml"

    @property
    def log_file(self) -> Path:
        """What the programs printed."""
        return self.folder / "log.txt"

    @property
    def report_file(self) -> Path:
        """The page to look at."""
        return self.folder / "report.html"

    @property
    def takes(self) -> list[Take]:
        """All videos it shall have."""
        validation = self.settings.validation_data
        prompts = validation.prompt or self.settings.train_data.prompts
        assert validation.seed is not None, "preflight resolves it"
        return [
            Take(prompt, validation.seed + repeat)
            for prompt in dict.fromkeys(text.strip() for text in prompts)
            for repeat in range(self.repeat_num)
        ]

    def find_run(self) -> Run | None:
        """Find the run with these settings that is furthest; runs with others are left alone."""
        runs = [Run(path) for path in sorted(self.folder.glob("train_*"))]
        same = [run for run in runs if run.checkpoint_steps() and self._has_settings(run)]
        return max(same, key=lambda run: run.checkpoint_steps()[-1], default=None)

    def is_trained(self, run: Run | None) -> bool:
        """Tell whether all steps of the run are made."""
        return run is not None and run.checkpoint_steps()[-1] >= self.settings.max_train_steps

    def is_done(self) -> bool:
        """Whether the run has made all steps and has all its videos."""
        found = self.find_run()
        return found is not None and self.is_trained(found) and not self.missing_takes(found)

    def missing_takes(self, run: Run) -> list[Take]:
        """List the videos of the run's last checkpoint that are not there yet."""
        made = {
            Take(video.prompt or "", video.seed or 0)
            for video in read_outputs(videos_folder(run)).values()
            if video.path.is_file()
        }
        return [take for take in self.takes if take not in made]

    def output_folder(self, run: Run) -> OutputFolder:
        """Open the videos that the table is made of.

        Raises:
            UserError: Videos are missing, or none can be read.
        """
        missing = self.missing_takes(run)
        if missing:
            raise UserError(f"{len(missing)} of {len(self.takes)} videos were not generated.")
        folder = open_folder(videos_folder(run), needs_prompt=True)
        wanted = set(self.takes)
        videos = [video for video in folder.videos if (video.prompt, video.seed) in wanted]
        return replace(folder, videos=tuple(videos))

    def describe(self) -> str:
        """Say what is left to do."""
        run, steps, number = self.find_run(), self.settings.max_train_steps, len(self.takes)
        if run is None:
            return f"train {steps} steps, generate {number} videos"
        if not self.is_trained(run):
            made = run.checkpoint_steps()[-1]
            return f"train on from step {made} of {steps}, generate {number} videos"
        missing = len(self.missing_takes(run))
        return f"trained; {f'generate {missing} of' if missing else 'has all'} {number} videos"

    def _has_settings(self, run: Run) -> bool:
        settings = run.settings()
        # The folder may have been moved since.
        return settings is not None and self.settings == replace(
            settings, output_dir=self.settings.output_dir
        )


def plan_motions(
    configs: Sequence[Path],
    overrides: Sequence[str],
    output_dir: Path,
    repeat_num: int,
    dry_run: bool,
) -> tuple[list[Motion], list[str], list[Failure]]:
    """Read and check all configs, before anything is trained.

    Args:
        configs: YAML files; those that name no clip (shared settings) are left out.
        overrides: `key=value` each, for all configs.
        output_dir: Gets a folder per motion.
        repeat_num: Videos per prompt.
        dry_run: The base's weights may be missing.

    Returns:
        The motions that can be run; why files were left out, one line each; the motions that cannot
        be run.

    Raises:
        UserError: Two configs have one name.
    """
    motions: list[Motion] = []
    left_out: list[str] = []
    failures: list[Failure] = []
    files: dict[str, Path] = {}
    for config in configs:
        name = config.stem.removeprefix("config_")
        if name in files:
            raise UserError(f"{files[name]} and {config} would both be the motion '{name}'.")
        files[name] = config
        try:
            if names_no_clip(config, overrides):
                left_out.append(f"{config}: it names no reference clip.")
                continue
            settings = replace(
                load_settings(config, overrides),
                output_dir=str(output_dir / name),
                resume_from_checkpoint=None,
            )
            plan = check_training(settings, dry_run=dry_run)
            check_seeds(plan.settings.validation_data.seed or 0, repeat_num)
        except UserError as error:
            failures.append(Failure(name, str(error)))
            continue
        motions.append(Motion(name, output_dir / name, plan.settings, repeat_num))
    return motions, left_out, failures


def names_no_clip(config: Path, overrides: Sequence[str]) -> bool:
    """Tell whether a config is sound but names no reference clip: others build on such files."""
    # Other overrides are for the motions, and need not fit a file that is none.
    clip = [override for override in overrides if override.startswith(f"{CLIP_KEY}=")]

    def is_sound(*keys: str) -> bool:
        try:
            load_settings(config, [*clip, *(f"{key}=given" for key in keys)])
        except UserError:
            return False
        return True

    return is_sound(CLIP_KEY, *OTHER_KEYS) and not is_sound(*OTHER_KEYS)


def videos_folder(run: Run) -> Path:
    """Where the videos of a run's last checkpoint are."""
    return run.folder / "videos"


def as_series(takes: Sequence[Take]) -> list[Series]:
    """Group videos into as few calls of inference.py as possible, without making any other."""
    prompts_of: dict[tuple[int, int], list[str]] = {}  # by first seed and number of seeds
    for prompt in dict.fromkeys(take.prompt for take in takes):
        seeds = sorted(take.seed for take in takes if take.prompt == prompt)
        for _, group in groupby(enumerate(seeds), key=lambda entry: entry[1] - entry[0]):
            consecutive = [seed for _, seed in group]
            prompts_of.setdefault((consecutive[0], len(consecutive)), []).append(prompt)
    return [Series(tuple(prompts), *seeds) for seeds, prompts in prompts_of.items()]


def read_trained_frames(data: TrainData) -> Frames:
    """Read the frames that were trained on, cropped as in training, at the clip's own resolution.

    Returns:
        uint8 (F, H, W, 3), with the aspect ratio of the training.
    """
    frames = read_clip(
        find_path(data.single_video_path), FrameChoice.of(data), data.n_sample_frames
    )
    clip_height, clip_width = frames.shape[1:3]
    scale = min(clip_width / data.width, clip_height / data.height)
    height, width = round(data.height * scale), round(data.width * scale)
    top, left = (clip_height - height) // 2, (clip_width - width) // 2
    return frames[:, top : top + height, left : left + width]
