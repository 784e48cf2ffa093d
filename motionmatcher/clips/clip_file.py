"""A clip's file as a player shows it: which frames, when, how large and which way up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from motionmatcher.clips.clip_times import FrameTimes, plan_timeline
from motionmatcher.errors import UserError
from motionmatcher.paths import require_file

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Frames = NDArray[np.uint8]

# No player shows wider or narrower pixels; a header that says so is damaged.
MAX_PIXEL_ASPECT = 16
# By transposed, mirrored, flipped.
_TURNS = {
    (False, False, False): "",
    (False, False, True): "upside down and mirrored",
    (False, True, False): "mirrored",
    (False, True, True): "by 180 degrees",
    (True, False, False): "by 90 degrees and mirrored",
    (True, False, True): "by 90 degrees counterclockwise",
    (True, True, False): "by 90 degrees clockwise",
    (True, True, True): "by 270 degrees and mirrored",
}


@dataclass(frozen=True)
class Shape:
    """How a stored frame is shown: with square pixels, then turned and mirrored.

    Attributes:
        width: Pixels of a frame with square pixels, before turning.
        height: Likewise.
        transposed: Rows become columns.
        mirrored: Left and right are exchanged, after that.
        flipped: Top and bottom are exchanged, after that.
        pixel_aspect: Width of a stored pixel per height.
    """

    width: int
    height: int
    transposed: bool
    mirrored: bool
    flipped: bool
    pixel_aspect: Fraction = Fraction(1)

    @classmethod
    def of(cls, frame: "VideoFrame", pixel_aspect: Fraction) -> "Shape":
        """Take the shape from a clip's first frame and its pixels' width per height."""
        stored: Any = frame.side_data.get("DISPLAYMATRIX")  # PyAV's annotation is wrong
        matrix = np.eye(3) if stored is None else np.frombuffer(stored, np.int32).reshape(3, 3)
        (x_to_x, x_to_y), (y_to_x, y_to_y) = matrix[:2, :2].tolist()
        width = max(round(frame.width * pixel_aspect), 1)
        if abs(x_to_y) > abs(x_to_x):
            return cls(width, frame.height, True, y_to_x < 0, x_to_y < 0, pixel_aspect)
        return cls(width, frame.height, False, x_to_x < 0, y_to_y < 0, pixel_aspect)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as shown."""
        return (self.height, self.width) if self.transposed else (self.width, self.height)

    @property
    def turn(self) -> str:
        """How players turn what is stored, in words; empty for not at all."""
        return _TURNS[self.transposed, self.mirrored, self.flipped]

    def show(self, frame: "VideoFrame") -> Frames:
        """Convert a stored frame to the picture that a player shows, uint8 (H, W, 3), RGB."""
        # swscale rounds deep colours better on its way to bgr24 than on that to rgb24.
        picture = frame.reformat(format="bgr24", interpolation="BICUBIC")
        picture = picture.reformat(self.width, self.height, interpolation="BICUBIC")
        pixels = cast(Frames, picture.to_ndarray())[..., ::-1]
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.mirrored:
            pixels = pixels[:, ::-1]
        return pixels[::-1] if self.flipped else pixels


class ClipFile:
    """A clip that was decoded once from end to end, so that what it holds is known.

    Attributes:
        path: The file.
        width: Pixels as shown.
        height: Likewise.
        shape: How its stored frames are shown.
        timeline: The frames to take, and at what rate.
    """

    def __init__(self, path: Path | str, grid_fps: float | None = None) -> None:
        """Decode a clip to learn its frames and their times.

        Args:
            path: Any container and codec that ffmpeg reads.
            grid_fps: Frames per second that are taken of a clip whose own rate varies; None: its usual
                rate.

        Raises:
            UserError: The file is not there, is not a video, or breaks off.
        """
        self.path = Path(path)
        with _opened(self.path) as (container, stream):
            tick, rate = stream.time_base, stream.average_rate or stream.guessed_rate
            assert tick is not None
            shape, starts, last_duration = None, [], Fraction(0)
            for frame in _decode(self.path, container, stream):
                shape = shape or Shape.of(frame, _pixel_aspect(self.path, stream))
                starts.append(None if frame.pts is None else frame.pts * tick)
                last_duration = frame.duration * tick
            if shape is None:
                raise UserError(f"{self.path} has no frames: is it a video, and whole?")
            times = FrameTimes(starts, last_duration, tick, rate)
            if _is_cut(self.path, container, stream, times):
                raise _breaks_off(self.path)
        self.shape = shape
        self.width, self.height = shape.shown_size
        self.timeline = plan_timeline(self.path, times, grid_fps)

    def __len__(self) -> int:
        """Count the frames to take, repeats included."""
        return len(self.timeline.sources)

    def read(self, indices: Sequence[int]) -> Frames:
        """Decode the frames asked for, in the order given.

        Args:
            indices: Each from 0 to `len(self) - 1`.

        Returns:
            uint8 (len(indices), H, W, 3), RGB.

        Raises:
            UserError: The file has gone, or breaks off now.
        """
        sources = [self.timeline.sources[index] for index in indices]
        missing, shown = set(sources), {}
        with _opened(self.path) as (container, stream):
            for source, frame in enumerate(_decode(self.path, container, stream)):
                if source in missing:
                    shown[source] = self.shape.show(frame)
                    missing.remove(source)
                if not missing:
                    break
        if missing:  # the file was changed since it was opened
            raise _breaks_off(self.path)
        return np.stack([shown[source] for source in sources])

    def stream(self, start: int, stop: int) -> Iterator[Frames]:
        """Decode frames `start` to `stop - 1` one after the other, uint8 (H, W, 3), RGB.

        Raises:
            UserError: The file has gone, or breaks off now.
        """
        sources = iter(self.timeline.sources[start:stop])
        wanted = next(sources, None)
        with _opened(self.path) as (container, stream):
            for source, frame in enumerate(_decode(self.path, container, stream)):
                if source == wanted:
                    picture = self.shape.show(frame)
                while source == wanted:  # a frame that is held comes repeatedly
                    yield picture
                    wanted = next(sources, None)
                if wanted is None:
                    return
        raise _breaks_off(self.path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    import av

    require_file(path, "video file")
    no_video = UserError(f"{path} cannot be read as a video: is it one, and whole?")
    try:
        # `file:` keeps a name from being taken for another protocol.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError as error:
        raise no_video from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
            raise no_video
        stream.codec_context.thread_count = 1
        yield container, stream


def _decode(
    path: Path, container: "InputContainer", stream: "VideoStream"
) -> Iterator["VideoFrame"]:
    import av

    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:  # the file ends within it
                raise _breaks_off(path)
            yield from packet.decode()
    except av.FFmpegError as error:
        raise _breaks_off(path) from error


def _breaks_off(path: Path) -> UserError:
    return UserError(f"{path} breaks off: its frames cannot all be decoded.")


def _pixel_aspect(path: Path, stream: "VideoStream") -> Fraction:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
        raise UserError(
            f"{path} says that its pixels are {float(aspect):g} times as wide as high: its header is "
            "damaged; encode it again."
        )
    return aspect


def _is_cut(
    path: Path, container: "InputContainer", stream: "VideoStream", times: FrameTimes
) -> bool:
    """Tell whether a file ends before its frames do, where the decoder does not notice."""
    if container.format.name == "gif":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            return not file.read().rstrip(b"\0").endswith(b";")
    declared_end = _declared_end(container, stream)
    return declared_end is not None and times.end_before(declared_end)


def _declared_end(container: "InputContainer", stream: "VideoStream") -> Fraction | None:
    """When the last frame ends by a Matroska or WebM header, in seconds; None without one."""
    import av

    if tag := stream.metadata.get("DURATION"):  # 00:00:02.041000000
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    if stream.duration is None and container.duration and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return None
