"""Which frames of a clip are read: counted, or by time."""

from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from motionmatcher.config.settings import TrainData
from motionmatcher.errors import UserError


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a clip are read.

    Attributes:
        start: Index of the first frame, where frames are counted.
        step: Distance between frames, likewise.
        grid_fps: Frames per second that are taken of a clip whose own rate varies; None: its usual rate.
        start_s: Seconds at which the first frame is shown; None: 0, or frames are counted.
        step_s: Seconds from frame to frame; None: each frame is read, or frames are counted.
    """

    start: int = 0
    step: int = 1
    grid_fps: float | None = None
    start_s: float | None = None
    step_s: float | None = None

    @classmethod
    def of(cls, data: TrainData) -> "FrameChoice":
        """Take what a run's settings choose."""
        return cls(data.sample_start_idx, data.frame_step, data.grid_fps, data.start_s, data.step_s)

    @property
    def by_time(self) -> bool:
        """Whether frames are chosen by time."""
        return self.start_s is not None or self.step_s is not None

    def fps(self, clip_fps: float) -> float:
        """Frames read per second of a clip."""
        return 1 / self.step_s if self.step_s is not None else clip_fps / self.step

    def indices(self, path: Path | str, num_frames: int, clip_fps: float, count: int) -> list[int]:
        """List the frames to read, in order.

        Args:
            path: The clip, to be named in errors.
            num_frames: Number of frames of the clip.
            clip_fps: Frames per second of the clip.
            count: Number of frames to read.

        Returns:
            Indices of frames of the clip. By time, each is the frame whose start is nearest.

        Raises:
            UserError: The clip is too short; names it, its length, and what asks for more.
        """
        if not self.by_time:
            check_length(path, num_frames, self.start, self.step, count)
            return list(range(self.start, self.start + count * self.step, self.step))
        start_s, step_s = self.start_s or 0.0, 1 / self.fps(clip_fps)
        end_s, length_s = start_s + count * step_s, num_frames / clip_fps
        if end_s >= length_s + 0.5 / clip_fps:  # less than half a frame is rounding
            raise UserError(
                f"{path} is {length_s:.4g} s long, but {count} frames {step_s:.4g} s apart from "
                f"{start_s:.4g} s on end at {end_s:.4g} s: lower start_s, duration_s or "
                "n_sample_frames, or take a longer clip."
            )
        nearest = (floor((start_s + i * step_s) * clip_fps + 0.5) for i in range(count))
        return [min(index, num_frames - 1) for index in nearest]

    def rate_note(self, path: Path | str, clip_fps: float, played_fps: float) -> str | None:
        """Say that what is read will be played faster or slower; None where it is not.

        Args:
            path: The clip, to be named.
            clip_fps: Frames per second of the clip.
            played_fps: Those of previews, `train_data.fps`.
        """
        fps = self.fps(clip_fps)
        if abs(fps - played_fps) <= 0.01 * played_fps:
            return None
        how = "duration_s" if self.step_s is not None else f"frame_step {self.step}"
        return (
            f"{path} has {clip_fps:g} fps; with {how} that is {fps:g}, but previews will play at "
            f"train_data.fps {played_fps:g}."
        )

    def place(self) -> dict[str, Any]:
        """Say where the frames are, as caches record it."""
        if self.by_time:
            return {"start_s": self.start_s, "step_s": self.step_s}
        return {"start": self.start, "step": self.step}


def check_length(path: Path | str, num_frames: int, start: int, step: int, count: int) -> None:
    """Refuse a clip that has no frame `start + (count - 1) * step`.

    Raises:
        UserError: Names the clip, its length, and the settings that ask for more.
    """
    last = start + (count - 1) * step
    if last >= num_frames:
        raise UserError(
            f"{path} has {num_frames} frames, but sample_start_idx {start}, frame_step {step} and "
            f"n_sample_frames {count} need {last + 1}: lower one of them or take a longer clip."
        )
