"""The whole method in minutes, without a download or a GPU: `make demo`.

Trains on a rendered clip with one of the small bases that ship, generates videos of other subjects, and
measures how far they follow the clip: by the base alone, by the base with the clip's noise in its
start noise (the noise prior), and by the trained model with the noise prior that its config has.
"""

import runpy
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionmatcher.command_line import ArgumentParser, add_json_argument, run
from motionmatcher.errors import UserError
from motionmatcher.paths import find_path, shipped
from motionmatcher.text_files import read_json

if TYPE_CHECKING:
    from evaluation.folders import OutputVideo
    from motionmatcher.clips.clip_file import Frames
    from motionmatcher.config.settings import TrainSettings
    from testbed.truth import Truth

CONFIGS = {"transformer": "configs/demo.yaml", "unet": "configs/demo_unet.yaml"}  # by their base
SMALL_CLIP = "models/moving_shapes_clip"
OUTPUT = Path("outputs/demo")
PROMPTS = (
    "a yellow star on a plain navy background",
    "a pink square on a plain teal background",
    "a cyan triangle on a plain brown background",
)
VIDEOS_PER_PROMPT = 2
NOISE_PRIOR = 0.3  # of the base that has one
TRACKS_PER_SIDE = 32  # one every two pixels
VARIANTS = "base", "noise_prior", "trained"  # what is compared


@dataclass(frozen=True)
class DemoVideo:
    """One video and how far it is from the reference's motion.

    Attributes:
        prompt: What it was made from.
        seed: Of its start noise.
        frames: uint8 (F, H, W, 3).
        error: Path error in pixels; see `testbed.path_error`.
    """

    prompt: str
    seed: int
    frames: "Frames"
    error: float


def main() -> None:
    """Train, generate, score, compare."""
    parser = ArgumentParser(prog="python -m experiments.demo", description=__doc__)
    parser.add_argument(
        "--base", choices=list(CONFIGS), default="transformer", help="which of the small bases"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as train.py takes them")
    add_json_argument(parser)
    arguments = parser.parse_args()
    started = time.monotonic()
    from motionmatcher.config.loading import load_settings
    from motionmatcher.files import write_json

    config = shipped(CONFIGS[arguments.base])
    settings = load_settings(config, arguments.overrides)
    reference = Path(find_path(settings.train_data.first.single_video_path))
    truth = read_truth(reference, settings)

    _announce(1, "Training on the reference clip")
    record = OUTPUT / "train.json"
    _program(shipped("train.py"), "--config", config, *arguments.overrides, "--json", record)
    run_folder = Path(read_json(record)["run"])

    output = OUTPUT / "videos" / run_folder.name
    folders, titles = {}, variant_titles(settings)
    for number, (name, flags) in enumerate(sampling_flags(settings).items(), 2):
        _announce(number, f"Generating videos: {titles[name]}")
        folders[name] = output / name
        _program(
            *(shipped("inference.py"), "--checkpoint_folder", run_folder),
            *(word for prompt in PROMPTS for word in ("--prompt", prompt)),
            *("--repeat_num", VIDEOS_PER_PROMPT, "--batch-size", VIDEOS_PER_PROMPT, *flags),
            *("--gif", "--output_dir", folders[name]),
        )

    _announce(5, "Scoring all videos")
    report, sheet = output / "report.html", output / "contact_sheet.png"
    videos = score_videos(folders, reference, truth, report)
    write_comparison_sheet(sheet, reference, truth, videos, titles)

    minutes = (time.monotonic() - started) / 60
    print(f"\nDone in {minutes:.1f} minutes.")
    print(f"previews over training: {run_folder / 'samples'}")
    print(f"videos: {output}")
    print(f"look at: {sheet} and {report}")
    errors = {name: [video.error for video in made] for name, made in videos.items()}
    if arguments.json:
        files = {"run": run_folder, "videos": output, "contact_sheet": sheet, "report": report}
        write_json(
            arguments.json,
            compare_errors(errors) | {name: str(path) for name, path in files.items()},
        )
    print(f"\n{conclusion(errors, titles)}")


def variant_titles(settings: "TrainSettings") -> dict[str, str]:
    """Say for people what each of `VARIANTS` is."""
    trained = "trained with noise prior" if settings.validation_data.noise_prior else "trained"
    return dict(zip(VARIANTS, ("base", "base with noise prior", trained), strict=True))


def sampling_flags(settings: "TrainSettings") -> dict[str, tuple[object, ...]]:
    """List the flags of inference.py that make each of `VARIANTS`; all have the same seeds."""
    return {
        "base": ("--lora_scale", 0, "--noise_prior", 0),
        "noise_prior": ("--lora_scale", 0, "--noise_prior", NOISE_PRIOR),
        "trained": ("--noise_prior", settings.validation_data.noise_prior),
    }


def read_truth(reference: Path, settings: "TrainSettings") -> "Truth":
    """Read where the object of a rendered clip is.

    Args:
        reference: The clip, with its ground truth beside it.
        settings: The run's; it must see the clip as it was rendered.

    Raises:
        UserError: There is no ground truth, or the settings do not fit it.
    """
    from testbed import truth
    from testbed.renderer import FRAME_SIZE

    file = truth.truth_file(reference)
    if not file.is_file():
        raise UserError(
            f"{reference} has no ground truth {file.name} beside it: the demo wants one of the clips "
            "in resources/reference_videos; train.py takes any."
        )
    found = truth.read_truth(reference)
    data = settings.train_data
    size = (data.n_sample_frames, data.width, data.height)
    expected = (len(found.path), FRAME_SIZE, FRAME_SIZE)
    if size != expected:
        raise UserError(
            f"the demo measures clips of (frames, width, height) {expected}, not {size}: leave "
            "train_data.n_sample_frames, width and height as they are."
        )
    return found


def score_videos(
    folders: Mapping[str, Path], reference: Path, truth: "Truth", report: Path
) -> dict[str, list[DemoVideo]]:
    """Score all videos by all that is available, write the page, and measure the path errors.

    Args:
        folders: As inference.py wrote them, by the names of `VARIANTS`.
        reference: The clip.
        truth: Where its object is.
        report: The page to write.

    Returns:
        By the names of `VARIANTS`, in the order they were made.
    """
    from evaluation import ScorerSettings, score
    from evaluation.folders import read_outputs
    from evaluation.results import print_comparison, print_positions
    from testbed.path_error import path_error
    from testbed.tracker import measure_clip

    found: dict[Path, DemoVideo] = {}

    def measure(video: "OutputVideo", frames: "Frames") -> None:
        error = path_error(measure_clip(frames).path, truth.path)
        found[video.path] = DemoVideo(video.prompt or "", video.seed or 0, frames, error)

    scores = score(
        list(folders.values()),
        reference,
        settings=ScorerSettings(
            clip_model=str(shipped(SMALL_CLIP)), tracker="flow", grid_size=TRACKS_PER_SIDE
        ),
        controls=True,
        report=report,
        on_video=measure,
    )
    print_comparison(scores)
    print_positions(scores)
    return {
        name: [found[folder / file] for file in read_outputs(folder)]
        for name, folder in folders.items()
    }


def write_comparison_sheet(
    path: Path,
    reference: Path,
    truth: "Truth",
    videos: Mapping[str, Sequence[DemoVideo]],
    titles: Mapping[str, str],
) -> None:
    """Show each prompt's first video by each model beside the reference, its path drawn over all."""
    import numpy as np

    from motionmatcher.clips.contact_sheet import write_contact_sheet
    from motionmatcher.clips.video import read_video
    from testbed.strobe import SCALE, strobe

    frames = read_video(reference)[0]
    rows, labels = [], []
    for prompt in PROMPTS:
        first = {
            name: next(video for video in made if video.prompt == prompt)
            for name, made in videos.items()
        }
        clips = [frames, *(video.frames for video in first.values())]
        rows.append(np.stack([strobe(clip, truth.path) for clip in clips]))
        errors = [f"{titles[name]} {video.error:.1f} px" for name, video in first.items()]
        labels.append(f"{prompt}: reference; {'; '.join(errors)}")
    write_contact_sheet(path, rows, labels, frame_height=SCALE * frames.shape[1])


def compare_errors(errors: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Compare the models by their videos' path errors.

    Args:
        errors: By the names of `VARIANTS`; the same prompts and seeds in the same order.

    Returns:
        "path_error_px": the mean of each; "num_videos": how many each made; "num_improved": in how
        many the trained model is nearer than the noise prior alone; "trained_beats_noise_prior":
        whether its mean is lower.
    """
    means = {name: sum(values) / len(values) for name, values in errors.items()}
    pairs = list(zip(errors["trained"], errors["noise_prior"], strict=True))
    return {
        "path_error_px": means,
        "num_videos": len(pairs),
        "num_improved": sum(trained < prior for trained, prior in pairs),
        "trained_beats_noise_prior": means["trained"] < means["noise_prior"],
    }


def conclusion(errors: Mapping[str, Sequence[float]], titles: Mapping[str, str]) -> str:
    """Say the demo's outcome in one line."""
    from testbed.renderer import FRAME_SIZE

    comparison = compare_errors(errors)
    means = comparison["path_error_px"]
    numbers = (
        f"Path error in pixels of {FRAME_SIZE}, mean of {comparison['num_videos']} videos: "
        + ", ".join(f"{titles[name]} {means[name]:.1f}" for name in VARIANTS)
    )
    verb = "beats" if comparison["trained_beats_noise_prior"] else "does NOT beat"
    part = f"nearer in {comparison['num_improved']} of {comparison['num_videos']}"
    return f"{numbers}: training {verb} the noise prior alone ({part})."


def _announce(number: int, what: str) -> None:
    print(f"\n[{number}/5] {what}", flush=True)


def _program(*words: object) -> None:
    """Run a script as its command would, but in this process, which has imported what takes seconds."""
    command = [str(word) for word in words]
    print(
        "$ python " + " ".join(word if " " not in word else f'"{word}"' for word in command),
        flush=True,
    )
    own, sys.argv = sys.argv, command
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code:  # the script has said why
            raise
    finally:
        sys.argv = own


if __name__ == "__main__":
    run(main)
