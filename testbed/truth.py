"""The ground truth that lies beside a rendered reference clip, as JSON of the same name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.text_files import read_json

Array = NDArray[np.float64]

ATTRIBUTES = ("color", "shape", "background_style", "background_color")


@dataclass(frozen=True)
class Truth:
    """Ground truth of a reference clip.

    Attributes:
        prompt: Its own prompt.
        appearance: Its `ATTRIBUTES` by name.
        tuning: For choosing settings, not for reporting.
        path: (F, 2) the object's centre on the screen, in pixels.
        radius: (F,) its radius, in pixels.
        camera: (F, 3) offset (x, y) and zoom, relative to the first frame.
    """

    prompt: str
    appearance: dict[str, str]
    tuning: bool
    path: Array
    radius: Array
    camera: Array

    @property
    def travel(self) -> float:
        """Length of the path on the screen, in pixels."""
        return float(np.linalg.norm(np.diff(self.path, axis=0), axis=1).sum())

    @property
    def camera_moves(self) -> bool:
        """Whether the camera does anything."""
        return bool(np.ptp(self.camera, axis=0).any())


def truth_file(clip: Path) -> Path:
    """Where the ground truth of a clip is."""
    return clip.with_suffix(".json")


def write_truth(clip: Path, values: dict[str, Any]) -> None:
    """Write the ground truth of a clip, as `testbed.reference_clips.ground_truth` gives it."""
    write_json(truth_file(clip), values)


def read_truth(clip: Path) -> Truth:
    """Read the ground truth of a clip.

    Raises:
        UserError: There is none.
    """
    file = truth_file(clip)
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.json"))) or "none"
        raise UserError(f"{file}: no such ground truth; there are: {known}")
    content = read_json(file)
    camera = np.asarray(content["camera"])
    first = camera[0]
    relative = np.column_stack(
        [(camera[:, :2] - first[:2]) * first[2], camera[:, 2] / first[2]]
    )  # as the tracker measures it
    return Truth(
        prompt=content["prompt"],
        appearance={name: content[name] for name in ATTRIBUTES},
        tuning=content["tuning"],
        path=np.asarray(content["path"]),
        radius=np.asarray(content["radius"]),
        camera=relative,
    )
