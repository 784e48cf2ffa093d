"""Every metric's name, label and meaning: the only list of them. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One column of scores.

    Attributes:
        name: Its key in JSON and CSV.
        label: Its name for people.
        better: Which way is better.
        description: One sentence for the report.
        digits: Decimals worth printing.
    """

    name: str
    label: str
    better: Literal["higher", "lower"]
    description: str
    digits: int = 4

    def format(self, value: float) -> str:
        """Write a value with as many decimals as are worth it; a dash for what is not defined."""
        return f"{value:.{self.digits}f}" if math.isfinite(value) else "–"


CLIP_T = Metric(
    "clip_t", "CLIP-T", "higher", "Mean cosine between the prompt and each frame under CLIP."
)
FRAME_CONSISTENCY = Metric(
    "frame_consistency", "T. Cons.", "higher", "Mean cosine between adjacent frames under CLIP."
)
LEAKAGE = Metric(
    "leakage",
    "Leakage",
    "lower",
    "Mean cosine between the frames of output and reference under CLIP: appearance taken over.",
)
COLOURS_TAKEN_OVER = Metric(
    "colours_taken_over",
    "Colours taken over",
    "lower",
    "Share of the way that colours went from the base's own video to the reference's.",
    digits=3,
)
LOOKS_TAKEN_OVER = Metric(
    "looks_taken_over",
    "Looks taken over",
    "lower",
    "The same of CLIP's embeddings, averaged over frames.",
    digits=3,
)
IMAGE_REWARD = Metric(
    "image_reward",
    "ImageReward",
    "higher",
    "Human preference for each frame given the prompt, as learnt by ImageReward-v1.0.",
)
MOTION_DISCREPANCY = Metric(
    "motion_discrepancy",
    "Motion discrepancy",
    "lower",
    "The published number: nearest-neighbour distance of point tracks, both ways, over the area.",
    digits=5,
)
VISIBLE_DISCREPANCY = Metric(
    "visible_discrepancy",
    "Visible",
    "lower",
    "The same over the frames in which both points of a pair are seen.",
    digits=5,
)
CENTRED_DISCREPANCY = Metric(
    "centred_discrepancy",
    "Centred",
    "lower",
    "The same on tracks less their means: movement, wherever it takes place.",
    digits=5,
)
CAMERA_DISCREPANCY = Metric(
    "camera_discrepancy",
    "Camera",
    "lower",
    "Distance between the camera paths fitted to both videos.",
    digits=5,
)
OBJECT_DISCREPANCY = Metric(
    "object_discrepancy",
    "Objects",
    "lower",
    "The same on what moves once the camera's motion is taken out.",
    digits=5,
)
MOTION_FIDELITY = Metric(
    "motion_fidelity",
    "Fidelity",
    "higher",
    "Best mean cosine of each output track's steps with a reference track's (DMT).",
)
MOTION_METRICS = (
    MOTION_DISCREPANCY,
    VISIBLE_DISCREPANCY,
    CENTRED_DISCREPANCY,
    CAMERA_DISCREPANCY,
    OBJECT_DISCREPANCY,
    MOTION_FIDELITY,
)
# Groups of metrics, each computed by one model.
CLIP, REWARD, MOTION = "clip", "image_reward", "motion"
GROUPS = (CLIP, REWARD, MOTION)
