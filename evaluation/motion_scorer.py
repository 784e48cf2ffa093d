"""Track a video, split its motion, and compare it with the reference clip's."""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from evaluation.camera import (
    CameraPath,
    camera_discrepancy,
    fit_camera,
    moving_tracks,
    object_discrepancy,
)
from evaluation.motion_metrics import (
    centred_discrepancy,
    motion_discrepancy,
    motion_fidelity,
    visible_discrepancy,
)
from evaluation.scoring import Metric, Setting, VideoScores
from evaluation.tracks import Tracker, Tracks, resample_time
from motionmatcher.clips.video import Frames

DISCREPANCY = Metric(
    "motion_discrepancy",
    "Motion discrepancy",
    "lower",
    "The published number: nearest-neighbour distance of point tracks, both ways, over the area.",
    digits=5,
)
METRICS = (
    DISCREPANCY,
    Metric(
        "visible_discrepancy",
        "Visible",
        "lower",
        "The same over the frames in which both points of a pair are seen.",
        digits=5,
    ),
    Metric(
        "centred_discrepancy",
        "Centred",
        "lower",
        "The same on tracks less their means: movement, wherever it takes place.",
        digits=5,
    ),
    Metric(
        "camera_discrepancy",
        "Camera",
        "lower",
        "Distance between the camera paths fitted to both videos.",
        digits=5,
    ),
    Metric(
        "object_discrepancy",
        "Objects",
        "lower",
        "The same on what moves once the camera's motion is taken out.",
        digits=5,
    ),
    Metric(
        "motion_fidelity",
        "Fidelity",
        "higher",
        "Best mean cosine of each output track's steps with a reference track's (DMT).",
    ),
)


@dataclass(frozen=True)
class MotionAnalysis:
    """The motion of one video.

    Attributes:
        tracks: N tracks over F frames.
        camera: The camera's path.
        stabilised: The tracks without the camera's motion, (N, F, 2).
        moving: Which tracks belong to moving objects, bool (N,).
    """

    tracks: Tracks
    camera: CameraPath
    stabilised: Tensor
    moving: Tensor


class MotionScorer:
    """All motion metrics against one reference clip."""

    metrics = METRICS

    def __init__(
        self,
        tracker: Tracker,
        reference: Frames,
        height: int | None = None,
        width: int | None = None,
    ) -> None:
        """Track the reference clip.

        Args:
            tracker: Follows the points.
            reference: uint8 (F, H, W, 3).
            height: Pixels that every video is resized to; the reference's own when None.
            width: Likewise.
        """
        self.tracker = tracker
        self.height = height or reference.shape[1]
        self.width = width or reference.shape[2]
        self.num_frames = len(reference)
        self.settings: dict[str, Setting] = {
            "tracker": tracker.name,
            "motion_size": f"{self.width}x{self.height}",
            "motion_frames": self.num_frames,
        }
        self.reference = self.analyse(reference)

    def score(self, frames: Frames, prompt: str | None = None) -> VideoScores:
        """Compare one video, uint8 (F, H, W, 3), with the reference clip."""
        notes = []
        if frames.shape[1:3] != (self.height, self.width):
            size = f"{frames.shape[2]}x{frames.shape[1]} to {self.width}x{self.height}"
            notes.append(f"resized from {size}")
        if len(frames) != self.num_frames:
            notes.append(f"time resampled from {len(frames)} to {self.num_frames} frames")
        motion = self.analyse(frames)
        return VideoScores(self.compare(motion), tuple(notes), motion)

    def analyse(self, frames: Frames) -> MotionAnalysis:
        """Track a video and split its motion, at the reference's size and number of frames."""
        size = (self.width, self.height)
        if frames.shape[1:3] != (self.height, self.width):
            frames = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
        tracks = resample_time(self.tracker.track(frames), self.num_frames)
        camera = fit_camera(tracks, *size)
        stabilised = camera.stabilise(tracks.points)
        return MotionAnalysis(
            tracks, camera, stabilised, moving_tracks(stabilised, tracks.visible, *size)
        )

    def compare(self, output: MotionAnalysis) -> dict[str, float]:
        """Compute all metrics of an analysed video."""
        reference, size = self.reference, (self.height, self.width)
        points = reference.tracks.points, output.tracks.points
        return {
            "motion_discrepancy": motion_discrepancy(*points, *size),
            "visible_discrepancy": visible_discrepancy(
                reference.tracks.points,
                reference.tracks.visible,
                output.tracks.points,
                output.tracks.visible,
                *size,
            ),
            "centred_discrepancy": centred_discrepancy(*points, *size),
            "camera_discrepancy": camera_discrepancy(reference.camera, output.camera),
            "object_discrepancy": object_discrepancy(
                reference.stabilised, reference.moving, output.stabilised, output.moving, *size
            ),
            "motion_fidelity": motion_fidelity(*points, *size),
        }
