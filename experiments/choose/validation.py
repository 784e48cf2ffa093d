"""How near the choice is to the best of its grid by the renderer's truth: on runs of Moving Shapes.

python -m experiments.choose.validation RUN … reads what `python -m experiments.choose` left in each run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.paths import user_path

HEADER = "| motion | chosen | path error, px | best of the grid | px | ratio | rank | correlation |"


@dataclass(frozen=True)
class Validation:
    """A run's choice beside the truth.

    Attributes:
        motion: Name of its clip.
        chosen: The setting.
        best: That with the lowest mean path error of the grid.
        errors: Mean path error by setting, in pixels.
        base: That of the base's own videos.
        correlation: Of the settings' mean distances of motion with their path errors.
    """

    motion: str
    chosen: str
    best: str
    errors: Mapping[str, float]
    base: float
    correlation: float

    @property
    def ratio(self) -> float:
        """The chosen setting's path error over the best one's."""
        return self.errors[self.chosen] / self.errors[self.best]

    @property
    def rank(self) -> int:
        """The chosen setting's place by path error; 1 is the best."""
        return 1 + sum(error < self.errors[self.chosen] for error in self.errors.values())


def main() -> None:
    """Measure the runs' videos and print a table."""
    parser = ArgumentParser(prog="python -m experiments.choose.validation", description=__doc__)
    parser.add_argument("runs", type=user_path, nargs="+", metavar="RUN")
    add_json_argument(parser)
    arguments = parser.parse_args()
    from motionmatcher.files import write_json

    remove_unfinished_outputs(arguments)
    found = [validate(folder) for folder in arguments.runs]
    print(HEADER)
    print(f"|{' --- |' * (HEADER.count('|') - 1)}")
    for item in found:
        print(
            f"| {item.motion} | {item.chosen} | {item.errors[item.chosen]:.2f} | {item.best} | "
            f"{item.errors[item.best]:.2f} | {item.ratio:.3f} | {item.rank} of {len(item.errors)} | "
            f"{item.correlation:.2f} |"
        )
    if arguments.json:
        write_json(arguments.json, [vars(item) | {"ratio": item.ratio} for item in found])


def validate(run_folder: Path) -> Validation:
    """Compare a run's choice with the truth of its clip.

    Raises:
        UserError: Nothing was chosen for it, or its clip has no ground truth.
    """
    import numpy as np

    from experiments.choose.choosing import FOLDER_NAME, RESULTS_NAME
    from motionmatcher.errors import UserError
    from motionmatcher.runs.choice import Choice
    from motionmatcher.runs.run_folder import Run
    from motionmatcher.text_files import read_json
    from testbed.truth import read_truth

    opened = Run.open(run_folder)
    file = run_folder / FOLDER_NAME / RESULTS_NAME
    results = read_json(file, "Run python -m experiments.choose first.")
    if results["chosen"] is None:
        raise UserError(f"{file}: no setting was recommended.")
    settings = opened.settings()
    assert settings is not None, "what has results has settings"
    clip = Path(opened.find_path(settings.train_data.first.single_video_path))
    path = read_truth(clip).path
    errors, distances = {}, []
    for trial in results["trials"]:
        setting = Choice(*(trial[name] for name in ("checkpoint", "noise_prior", "lora_scale")))
        errors[str(setting)] = mean_path_error(file.parent, trial, path)
        distances.append(trial["mean"][results["motion"]]["mean"])
    return Validation(
        motion=clip.stem,
        chosen=str(Choice(**results["chosen"])),
        best=min(errors, key=lambda name: errors[name]),
        errors=errors,
        base=mean_path_error(file.parent, results["base"], path),
        correlation=float(np.corrcoef(distances, list(errors.values()))[0, 1]),
    )


def mean_path_error(folder: Path, trial: Mapping[str, Any], path: Any) -> float:
    """Average the path errors of a setting's videos.

    Args:
        folder: Their files' paths begin there.
        trial: As `results.json` has it.
        path: Where the reference's object is, (F, 2).
    """
    from motionmatcher.clips.video import read_video
    from testbed.path_error import path_error
    from testbed.tracker import measure_clip

    errors = [
        path_error(measure_clip(read_video(folder / video["file"])[0]).path, path)
        for video in trial["videos"]
    ]
    return sum(errors) / len(errors)


if __name__ == "__main__":
    run(main)
