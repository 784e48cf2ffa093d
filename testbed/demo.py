"""The whole method in minutes, without a download or a GPU: `make demo`.

Trains on a rendered clip with the small base that ships, generates videos of other subjects, and
scores them.
As long as that base is not there, one with random weights stands in: everything runs, but its
videos are noise.
"""

import json
import subprocess
import sys
from pathlib import Path

from motionmatcher.command_line import ArgumentParser, run

CONFIG = Path("configs/demo.yaml")
SHIPPED_BASE = Path("models/moving_shapes")
SMALL_CLIP = Path("models/moving_shapes_clip")
OUTPUT = Path("outputs/demo")
PROMPTS = (
    "a green star on a plain gray background",
    "a red square on a plain black background",
    "a cyan triangle on a plain brown background",
)


def main() -> None:
    parser = ArgumentParser(prog="python -m testbed.demo", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as train.py takes them")
    overrides = parser.parse_args().overrides
    from motionmatcher.config import load_settings
    from motionmatcher.runs import Run

    base = shipped_or_random_base()
    figures = OUTPUT / "train.json"
    settings = (f"pretrained_model_path={base}", *overrides)
    _program("train.py", "--config", CONFIG, *settings, "--json", figures)
    latest = Run(Path(json.loads(figures.read_text())["run"]))
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    videos = OUTPUT / "videos" / latest.folder.name
    _program(
        "inference.py",
        *prompts,
        *("--checkpoint_folder", latest.folder),
        *("--repeat_num", "2", "--batch-size", "2", "--gif"),
        *("--output_dir", videos),
    )
    report = videos / "report.html"
    reference = load_settings(CONFIG).train_data.single_video_path
    _program(
        *("-m", "evaluation", "--source_video", reference, "--output_dir", videos),
        *("--clip_model", SMALL_CLIP, "--tracker", "flow", "--report", report),
    )
    print(f"\npreviews over training: {latest.samples_folder}")
    print(f"videos: {videos}")
    print(f"look at: {videos / 'contact_sheet.png'} and {report}")
    if base != SHIPPED_BASE:
        print("note: the base has random weights, so the videos are noise.")


def shipped_or_random_base() -> Path:
    """Find the small base that ships, or make one with random weights."""
    if (SHIPPED_BASE / "model_index.json").is_file():
        return SHIPPED_BASE
    from testbed.random_base import write_random_base

    folder = OUTPUT / "random_base"
    if not (folder / "model_index.json").is_file():
        print(f"{SHIPPED_BASE} is not there: making a base with random weights.")
        write_random_base(folder)
    return folder


def _program(*words: object) -> None:
    command = [str(word) for word in words]
    print(
        "$ python " + " ".join(word if " " not in word else f'"{word}"' for word in command),
        flush=True,
    )
    finished = subprocess.run([sys.executable, *command], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)  # the program has said why


if __name__ == "__main__":
    run(main)
