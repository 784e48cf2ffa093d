"""The reference clip, or several of one motion, and which of their frames are read."""

from dataclasses import dataclass, fields, replace
from typing import Any

from motionmatcher.config.bounds import (
    MAX_FPS,
    MAX_FRAME_INDEX,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SECONDS,
)
from motionmatcher.config.declaration import setting

# What chooses frames: by index and by time, and the values that choose nothing.
_BY_INDEX: dict[str, Any] = {"sample_start_idx": 0, "frame_step": 1}
_BY_TIME: dict[str, Any] = {"start_s": None, "duration_s": None}


@dataclass(frozen=True, kw_only=True)
class ClipData:
    """One of several clips of a motion."""

    path: str = setting(..., "the clip: mp4, mov, webm, avi or gif", is_path=True)
    prompt: str = setting(..., "what it shows")
    sample_start_idx: int | None = setting(
        None, "as of train_data; null: as there", minimum=0, maximum=MAX_FRAME_INDEX
    )
    frame_step: int | None = setting(None, "likewise", minimum=1, maximum=MAX_FRAME_INDEX)
    start_s: float | None = setting(None, "likewise", minimum=0, maximum=MAX_SECONDS)
    duration_s: float | None = setting(None, "likewise", minimum=0.001, maximum=MAX_SECONDS)

    @property
    def frames(self) -> dict[str, Any]:
        """What it says itself of which frames are read; of the two ways, the other one's is undone."""
        given = {
            entry.name: value
            for entry in fields(self)
            if entry.name in (*_BY_INDEX, *_BY_TIME)
            and (value := getattr(self, entry.name)) is not None
        }
        by_index, by_time = (given.keys() & way.keys() for way in (_BY_INDEX, _BY_TIME))
        undone = (_BY_TIME if by_index else {}) | (_BY_INDEX if by_time else {})
        return undone | given


@dataclass(frozen=True, kw_only=True)
class TrainData:
    """The reference clip and how it is read."""

    single_video_path: str = setting(
        ..., "the reference clip: mp4, mov, webm, avi or gif", is_path=True, unless="clips"
    )
    single_video_prompt: str = setting(..., "what the reference clip shows", unless="clips")
    clips: list[ClipData] = setting(
        [],
        "instead of the single one, several clips of one motion: a list of {path, prompt}, each with "
        "sample_start_idx, frame_step, start_s and duration_s of its own where they differ from those below",
    )
    width: int = setting(384, "pixels; a multiple of 8", minimum=8, maximum=MAX_PIXELS)
    height: int = setting(384, "pixels; a multiple of 8", minimum=8, maximum=MAX_PIXELS)
    use_bucketing: bool = setting(
        False,
        "keep the clip's own aspect at about the area of width x height, in multiples of 64 pixels, "
        "instead of cropping the centre",
    )
    n_sample_frames: int = setting(16, "frames read from the clip", minimum=1, maximum=MAX_FRAMES)
    sample_start_idx: int = setting(
        0, "index of the first frame read", minimum=0, maximum=MAX_FRAME_INDEX
    )
    frame_step: int = setting(
        1, "frame i is sample_start_idx + i * frame_step", minimum=1, maximum=MAX_FRAME_INDEX
    )
    start_s: float | None = setting(
        None,
        "instead of sample_start_idx and frame_step, by time: seconds at which the first frame is shown; "
        "null: 0, or frames are counted",
        minimum=0,
        maximum=MAX_SECONDS,
    )
    duration_s: float | None = setting(
        None,
        "likewise: seconds that n_sample_frames are spread over; null: each frame from start_s on is read",
        minimum=0.001,
        maximum=MAX_SECONDS,
    )
    fps: float = setting(
        8.0,
        "frames per second of previews, and read from clips of variable rate; warns when a clip's differ",
        minimum=0.1,
        maximum=MAX_FPS,
    )

    @property
    def step_s(self) -> float | None:
        """Seconds from frame to frame, where `duration_s` says so."""
        return None if self.duration_s is None else self.duration_s / self.n_sample_frames

    @property
    def grid_fps(self) -> float:
        """Frames per second that are chosen from, in a clip whose own rate varies."""
        return self.fps * self.frame_step if self.step_s is None else 1 / self.step_s

    @property
    def each(self) -> tuple["TrainData", ...]:
        """The data of each clip, as if it were the only one."""
        return tuple(
            replace(
                self,
                single_video_path=clip.path,
                single_video_prompt=clip.prompt,
                clips=[],
                **clip.frames,
            )
            for clip in self.clips
        ) or (self,)

    @property
    def places(self) -> tuple[str, ...]:
        """The keys under which `each` is chosen."""
        return tuple(f"train_data.clips[{index}]" for index in range(len(self.clips))) or (
            "train_data",
        )

    @property
    def first(self) -> "TrainData":
        """The data of the first clip: what videos are scored against and shown beside."""
        return self.each[0]

    @property
    def prompts(self) -> list[str]:
        """The clips' prompts, each once."""
        return list(dict.fromkeys(data.single_video_prompt for data in self.each))
