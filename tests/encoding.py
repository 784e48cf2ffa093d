"""Make clips for tests with ffmpeg's own program."""

import subprocess
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe


def ffmpeg(*arguments: object) -> bytes:
    """Run ffmpeg and return what it writes to its output."""
    command = [get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def frames_as_played(path: Path) -> bytes:
    """Decode a clip as ffmpeg's program plays it: RGB, upright, one frame after the other."""
    return ffmpeg(
        "-i", path, "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"
    )
