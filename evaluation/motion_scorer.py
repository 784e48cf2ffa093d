"""Track a video, split its motion, and compare it with the reference clip's."""

import cv2
import numpy as np

from evaluation import metrics
from evaluation.motion_metrics import (
    camera_discrepancy,
    centred_discrepancy,
    motion_discrepancy,
    motion_fidelity,
    object_discrepancy,
    visible_discrepancy,
)
from evaluation.scoring import Setting, VideoScores
from motionmatcher.clips.video import Frames
from motionmatcher.tracking.camera import (
    MotionAnalysis,
    split_motion,
)
from motionmatcher.tracking.tracks import Tracker, resample_time


class MotionScorer:
    """All motion metrics against one reference clip."""

    metrics = metrics.MOTION_METRICS

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
        if not len(motion.tracks.points):
            notes.append("nothing in it can be followed: its first frame has no texture")
        return VideoScores(self.compare(motion), tuple(notes), motion)

    def analyse(self, frames: Frames) -> MotionAnalysis:
        """Track a video and split its motion, at the reference's size and number of frames."""
        size = (self.width, self.height)
        if frames.shape[1:3] != (self.height, self.width):
            frames = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
        tracks = resample_time(self.tracker.track(frames), self.num_frames)
        return split_motion(tracks, *size)

    def compare(self, output: MotionAnalysis) -> dict[str, float]:
        """Compute all metrics of an analysed video."""
        reference, size = self.reference, (self.height, self.width)
        points = reference.tracks.points, output.tracks.points
        return {
            metrics.MOTION_DISCREPANCY.name: motion_discrepancy(*points, *size),
            metrics.VISIBLE_DISCREPANCY.name: visible_discrepancy(
                reference.tracks.points,
                reference.tracks.visible,
                output.tracks.points,
                output.tracks.visible,
                *size,
            ),
            metrics.CENTRED_DISCREPANCY.name: centred_discrepancy(*points, *size),
            metrics.CAMERA_DISCREPANCY.name: camera_discrepancy(reference.camera, output.camera),
            metrics.OBJECT_DISCREPANCY.name: object_discrepancy(
                reference.stabilised, reference.moving, output.stabilised, output.moving, *size
            ),
            metrics.MOTION_FIDELITY.name: motion_fidelity(*points, *size),
        }
