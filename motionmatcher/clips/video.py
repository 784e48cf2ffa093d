"""Clip file <-> frames: uint8 arrays (F, H, W, 3), RGB."""

import math
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from motionmatcher.clips.clip_file import ClipFile, Frames
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.errors import UserError, WriteError
from motionmatcher.files import atomic_path

if TYPE_CHECKING:
    import torch

VIDEO_SUFFIXES = (".mp4", ".gif", ".webm", ".avi", ".mov", ".mkv")
BUCKET_MULTIPLE = 64
# Players show a frame of a GIF for 20 ms at least; what asks for less they show for 100.
MAX_GIF_FPS = 50


@dataclass(frozen=True)
class ClipInfo:
    """What a clip's file shows.

    Attributes:
        num_frames: Number of frames shown.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        note: What is done to a clip whose frame rate varies, one line; None for any other.
    """

    num_frames: int
    width: int
    height: int
    fps: float
    note: str | None = None


def probe(path: Path | str, grid_fps: float | None = None) -> ClipInfo:
    """Learn a clip's size, length and frame rate, as `read_video` and `read_clip` will give it.

    Args:
        path: The clip.
        grid_fps: Frames per second that are taken of a clip whose own rate varies; None: its usual rate.

    Raises:
        UserError: The file is not there, is not a video, or breaks off.
    """
    clip = ClipFile(path, grid_fps)
    return ClipInfo(len(clip), clip.width, clip.height, clip.timeline.fps, clip.timeline.note)


def read_video(path: Path | str) -> tuple[Frames, float]:
    """Read all frames of a clip.

    Args:
        path: Any container and codec that ffmpeg reads (mp4, gif, webm, avi, mov, …).

    Returns:
        Frames, uint8 (F, H, W, 3), and frames per second.

    Raises:
        UserError: The file is not there, is not a video, or breaks off.
    """
    clip = ClipFile(path)
    return clip.read(range(len(clip))), clip.timeline.fps


def read_clip(path: Path | str, choice: FrameChoice, count: int) -> Frames:
    """Read some frames of a clip.

    Args:
        path: The clip.
        choice: Which frames.
        count: Number of frames.

    Returns:
        Frames, uint8 (count, H, W, 3).

    Raises:
        UserError: The file cannot be read or is too short.
    """
    clip = ClipFile(path, choice.grid_fps)
    return clip.read(choice.indices(path, len(clip), clip.timeline.fps, count))


def fit_frames(frames: Frames, width: int, height: int) -> "torch.Tensor":
    """Resize frames to cover a size and crop the centre, so that nothing is stretched.

    Args:
        frames: uint8 (F, H, W, 3).
        width: Pixels.
        height: Pixels.

    Returns:
        uint8 (F, 3, height, width).
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (F, 3, H, W)
    clip_height, clip_width = pixels.shape[-2:]
    scale = max(width / clip_width, height / clip_height)
    covering = max(round(clip_height * scale), height), max(round(clip_width * scale), width)
    if covering != (clip_height, clip_width):
        # Frame by frame, for a large clip in floating point would take gigabytes.
        resized = (
            interpolate(frame[None].float(), covering, mode="bicubic", antialias=True)
            for frame in pixels
        )
        pixels = torch.cat([frame.round().clamp(0, 255).to(torch.uint8) for frame in resized])
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return pixels[:, :, top : top + height, left : left + width].contiguous()


def bucket_size(width: int, height: int, clip_width: int, clip_height: int) -> tuple[int, int]:
    """Choose the size with a clip's own aspect ratio and about the area asked for.

    Args:
        width: Pixels asked for.
        height: Pixels asked for.
        clip_width: Pixels of the clip.
        clip_height: Pixels of the clip.

    Returns:
        Width and height, multiples of 64.
    """
    area, aspect = width * height, clip_width / clip_height

    def nearest_multiple(pixels: float) -> int:
        return max(round(pixels / BUCKET_MULTIPLE), 1) * BUCKET_MULTIPLE

    return nearest_multiple(math.sqrt(area * aspect)), nearest_multiple(math.sqrt(area / aspect))


def write_mp4(path: Path | str, frames: Frames, fps: float) -> None:
    """Write frames as H.264, in the form that browsers play.

    Args:
        path: The file, ending in .mp4; written under a temporary name, read back, and renamed.
        frames: uint8 (F, H, W, 3). Odd sizes get one repeated line, for the codec wants even ones.
        fps: Frames per second.

    Raises:
        WriteError: It could not be written whole.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    odd_height, odd_width = frames.shape[1] % 2, frames.shape[2] % 2
    if odd_height or odd_width:
        frames = np.pad(frames, ((0, 0), (0, odd_height), (0, odd_width), (0, 0)), mode="edge")
    _, height, width, _ = frames.shape
    rate = str(Fraction(fps).limit_denominator())
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        rate,
        "-i",
        "-",
    ]
    # One thread and no moving date: the same frames give the same file.
    codec = ["-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-threads", "1"]
    target = ["-movflags", "+faststart", "-y"]
    with atomic_path(path) as temporary:
        encoding = subprocess.run(
            [get_ffmpeg_exe(), "-v", "error", *source, *codec, *target, f"file:{temporary}"],
            input=np.ascontiguousarray(frames).data,
            capture_output=True,
            process_group=0,  # an interruption of the program lets it finish the file
        )
        if encoding.returncode != 0:
            reasons = encoding.stderr.decode(errors="replace").splitlines()
            # ffmpeg names its part in brackets first.
            reason = (
                reasons[-1].rpartition("] ")[2]
                if reasons
                else f"ffmpeg ended with {encoding.returncode}"
            )
            raise WriteError(path, reason.rstrip("."))
        _check_written(path, temporary, len(frames), fps)


def write_gif(path: Path | str, frames: Frames, fps: float) -> None:
    """Write frames as an endlessly looping GIF.

    Args:
        path: The file, ending in .gif; written under a temporary name, read back, and renamed.
        frames: uint8 (F, H, W, 3).
        fps: Frames per second; faster than `MAX_GIF_FPS` it is played at that.

    Raises:
        WriteError: It could not be written whole.
    """
    from PIL import Image

    images = [Image.fromarray(frame).quantize(256) for frame in frames]
    # In whole hundredths, so that a frame which is held lasts as long as its repeats would.
    delay_ms = 10 * int(100 / min(fps, MAX_GIF_FPS))
    with atomic_path(path) as temporary:
        images[0].save(
            temporary, save_all=True, append_images=images[1:], duration=delay_ms, loop=0
        )
        _check_written(path, temporary, len(frames), 1000 / delay_ms)


def _check_written(path: Path | str, temporary: Path, num_frames: int, fps: float) -> None:
    """Refuse what cannot be read back whole.

    Raises:
        WriteError: Names the file.
    """
    try:
        found = probe(temporary, fps).num_frames
    except UserError:
        found = 0
    if found != num_frames:
        raise WriteError(
            path, f"{found} of its {num_frames} frames can be read back, as on a full disk"
        )
