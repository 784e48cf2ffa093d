"""A clip is read as players show it: edited, turned, with square pixels, by its frames' times."""

import os
import socket
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame
from encoding import ffmpeg, frames_as_played
from PIL import Image

from motionmatcher.clips.clip_file import ClipFile, Shape
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.video import Frames, probe, read_clip, read_video, write_gif, write_mp4
from motionmatcher.errors import UserError


def write_counting_clip(path: Path, num_frames: int, fps: float) -> Path:
    """Frame i is 5 * i everywhere, so that a frame tells its index."""
    levels = (np.arange(num_frames) * 5).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (num_frames, 32, 48, 3))
    write_mp4(path, np.ascontiguousarray(frames), fps)
    return path


def frame_indices(frames: Frames) -> list[int]:
    return [round(float(level) / 5) for level in frames.mean((1, 2, 3))]


def picture(width: int = 96, height: int = 64) -> Frames:
    """Four frames of colours that differ in every corner."""
    y, x = np.mgrid[:height, :width]
    colours = np.stack([x * 255 // width, y * 255 // height, 40 + 0 * x], -1).astype(np.uint8)
    return np.repeat(colours[None], 4, axis=0)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 frames at 8 fps with B-frames, a key frame every 24."""
    folder = tmp_path_factory.mktemp("long")
    source = write_counting_clip(folder / "source.mp4", 48, fps=8)
    ffmpeg("-i", source, "-c:v", "libx264", "-g", 24, "-bf", 2, folder / "long.mp4")
    return folder / "long.mp4"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_frames_outside_the_edit_list_are_not_shown(
    long_clip: Path, tmp_path: Path, suffix: str
) -> None:
    trimmed = tmp_path / f"trimmed{suffix}"
    ffmpeg("-ss", 1.5, "-i", long_clip, "-c", "copy", trimmed)  # 48 frames are in the file
    assert probe(trimmed).num_frames == 36
    frames, fps = read_video(trimmed)
    assert frame_indices(frames) == list(range(12, 48))
    assert fps == 8
    with pytest.raises(UserError, match=r"has 36 frames, but .* need 37"):
        read_clip(trimmed, FrameChoice(), 37)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cut_open_gop_has_the_frames_that_players_show(tmp_path: Path, suffix: str) -> None:
    source = write_counting_clip(tmp_path / "source.mp4", 48, fps=24)
    whole, cut = tmp_path / "whole.mp4", tmp_path / f"cut{suffix}"
    ffmpeg("-i", source, "-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12:bframes=3", whole)
    ffmpeg("-ss", 0.7, "-i", whole, "-c", "copy", cut)
    frames, _ = read_video(cut)
    played = np.frombuffer(frames_as_played(cut), np.uint8).reshape(-1, 32, 48, 3)
    assert 0 < len(frames) < 48
    assert frame_indices(frames) == frame_indices(played)


def moving_square(num_frames: int) -> Frames:
    """A square at 50 px/s, 16 fps."""
    frames = np.zeros((num_frames, 32, 192, 3), np.uint8)
    for index, frame in enumerate(frames):
        left = round(index * 50 / 16)
        frame[8:24, left : left + 16] = 255
    return frames


def lefts(frames: Frames) -> list[int]:
    """Where the square begins."""
    return (frames[:, 16, :, 1] > 128).argmax(1).tolist()


def test_the_frames_of_a_variable_rate_are_taken_by_time(tmp_path: Path) -> None:
    steady, varying = tmp_path / "steady.mp4", tmp_path / "varying.mp4"
    write_mp4(steady, moving_square(48), fps=16)
    select = r"select=lt(n\,16)+not(mod(n\,4))"  # 16 frames at 16 fps, 8 at 4 fps
    ffmpeg("-i", steady, "-vf", select, "-fps_mode", "vfr", "-c:v", "libx264", varying)
    for grid_fps in (4, 2):
        info = probe(varying, grid_fps)
        found = lefts(read_clip(varying, FrameChoice(grid_fps=grid_fps), info.num_frames))
        assert np.diff(found) == pytest.approx(50 / grid_fps, abs=1)
        assert info.fps == grid_fps
        assert info.note == (
            f"its frame rate varies: {info.num_frames} frames are taken at even steps ({grid_fps} fps) "
            "from the 24 in the file"
        )
    frames, fps = read_video(varying)
    assert fps == 16, "nothing that moves is left out"
    shown = [*range(16), *np.repeat(range(16, 44, 4), 4).tolist(), 44]
    assert lefts(frames) == [round(index * 50 / 16) for index in shown]
    assert len(frames) == probe(varying).num_frames
    # One by one they are the same, those that are held too, from wherever it begins.
    clip = ClipFile(varying)
    assert np.array_equal(np.stack(list(clip.stream(10, 25))), frames[10:25])
    assert list(clip.stream(5, 5)) == []


def test_milliseconds_are_no_variable_rate(tmp_path: Path) -> None:
    write_counting_clip(tmp_path / "clip.mp4", 30, fps=30)
    ffmpeg("-i", tmp_path / "clip.mp4", "-c", "copy", tmp_path / "clip.mkv")
    info = probe(tmp_path / "clip.mkv", grid_fps=8)
    assert (info.num_frames, info.fps, info.note) == (30, 30, None)


@pytest.mark.parametrize("pause", [(2, 28), (0, 3), (4, 30), (0, 30)], ids=str)
def test_our_own_gif_keeps_its_pauses(tmp_path: Path, pause: tuple[int, int]) -> None:
    frames = np.zeros((30, 24, 32, 3), np.uint8)
    frames += (np.arange(30, dtype=np.uint8) * 7)[:, None, None, None]
    frames[slice(*pause)] = 250
    write_gif(tmp_path / "pause.gif", frames, fps=8)
    frames_at = [read_clip(tmp_path / "pause.gif", FrameChoice(grid_fps=100 / 12), 30)]
    if pause != (0, 30):  # nothing tells how many frames a single one stands for
        frames_at.append(read_video(tmp_path / "pause.gif")[0])
    assert all(np.array_equal(read, frames) for read in frames_at)


def write_foreign_gif(path: Path, delays_ms: list[int]) -> None:
    levels = [Image.new("L", (16, 16), 20 * index) for index in range(len(delays_ms))]
    levels[0].save(path, save_all=True, append_images=levels[1:], duration=delays_ms, loop=0)


def test_gif_delays_count(tmp_path: Path) -> None:
    write_foreign_gif(tmp_path / "clip.gif", [100, 100, 300, 100])
    frames, fps = read_video(tmp_path / "clip.gif")
    assert fps == 10
    assert [round(frame.mean() / 20) for frame in frames] == [0, 1, 2, 2, 2, 3]


def test_a_gif_s_missing_delay_is_100_ms(tmp_path: Path) -> None:
    write_foreign_gif(tmp_path / "clip.gif", [0] * 5)
    info = probe(tmp_path / "clip.gif")
    assert (info.num_frames, info.fps) == (5, 10)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize(("squeezed", "aspect"), [("64:128", "2/1"), ("256:128", "1/2")])
def test_a_disc_of_wide_pixels_stays_a_disc(
    tmp_path: Path, suffix: str, squeezed: str, aspect: str
) -> None:
    y, x = np.mgrid[:128, :128] - 63.5
    disc = np.repeat(((x**2 + y**2 <= 30**2) * 255).astype(np.uint8)[..., None], 3, axis=-1)
    write_mp4(tmp_path / "disc.mp4", np.stack([disc] * 3), fps=8)
    stored = tmp_path / f"stored{suffix}"
    ffmpeg("-i", tmp_path / "disc.mp4", "-vf", f"scale={squeezed},setsar={aspect}", stored)
    info = probe(stored)
    assert (info.width, info.height) == (128, 128)
    bright = read_video(stored)[0][0, ..., 1] / 255
    assert bright[64].sum() == pytest.approx(60, abs=1.5)
    assert bright[:, 64].sum() == pytest.approx(60, abs=1.5)


MIRRORS = {
    "as it is": (),
    "hflip": ("-display_hflip",),
    "vflip": ("-display_vflip",),
    "both": ("-display_hflip", "-display_vflip"),
}


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_clips_are_turned_and_mirrored_as_players_do(
    tmp_path: Path, rotation: int, mirror: str
) -> None:
    write_mp4(tmp_path / "plain.mp4", picture(), fps=8)
    turned = tmp_path / "turned.mp4"
    flags = "-display_rotation", rotation, *MIRRORS[mirror]
    ffmpeg(*flags, "-i", tmp_path / "plain.mp4", "-c", "copy", turned)
    info = probe(turned)
    assert (info.width, info.height) == ((64, 96) if rotation in (90, 270) else (96, 64))
    frames, _ = read_video(turned)
    played = np.frombuffer(frames_as_played(turned), np.uint8).reshape(frames.shape)
    assert np.abs(frames.astype(int) - played).mean() < 2


@pytest.mark.parametrize(
    ("turned", "words"),
    [
        (lambda frame: frame, ""),
        (lambda frame: np.rot90(frame, -1), "by 90 degrees clockwise"),
        (lambda frame: np.rot90(frame, 1), "by 90 degrees counterclockwise"),
        (lambda frame: np.rot90(frame, 2), "by 180 degrees"),
        (lambda frame: np.fliplr(frame), "mirrored"),
        (lambda frame: np.fliplr(np.rot90(frame, 2)), "upside down and mirrored"),
        (lambda frame: np.fliplr(np.rot90(frame, -1)), "by 90 degrees and mirrored"),
        (lambda frame: np.fliplr(np.rot90(frame, -3)), "by 270 degrees and mirrored"),
    ],
)
def test_how_a_clip_is_turned_in_words(turned: Callable[[Frames], Frames], words: str) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (8, 16, 3), np.uint8)
    frame = VideoFrame.from_ndarray(stored, format="rgb24")
    shapes = [
        Shape(16, 8, transposed, mirrored, flipped)
        for transposed, mirrored, flipped in product([False, True], repeat=3)
    ]
    (shape,) = (shape for shape in shapes if shape.turn == words)
    assert np.array_equal(shape.show(frame), turned(stored))


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libaom-av1 -cpu-used 8", ".mp4"),
        ("libx265 -x265-params log-level=none", ".mp4"),
        ("libx264 -pix_fmt yuv420p10le", ".mp4"),
        ("libvpx-vp9", ".webm"),
        ("mpeg4 -q:v 2", ".avi"),
        ("libx264", ".avi"),
        ("prores", ".mov"),
        ("ffv1", ".mkv"),
    ],
)
def test_codecs_and_containers(tmp_path: Path, codec: str, suffix: str) -> None:
    source, clip = tmp_path / "source.mp4", tmp_path / f"clip{suffix}"
    frames = np.concatenate([picture(), picture()[:, ::-1]])
    write_mp4(source, frames, fps=12)
    ffmpeg("-i", source, "-c:v", *codec.split(), clip)
    read, fps = read_video(clip)
    assert read.shape == frames.shape
    assert fps == pytest.approx(12)
    assert np.abs(read.astype(int) - frames).mean() < 4
    assert probe(clip).note is None


@pytest.mark.parametrize("suffix", [".webm", ".mkv", ".gif", ".avi"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.9])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), np.uint8)
    write_mp4(tmp_path / "clip.mp4", noise, fps=8)
    clip = tmp_path / f"clip{suffix}"
    ffmpeg("-i", tmp_path / "clip.mp4", clip)
    assert probe(clip).num_frames == 12
    content = clip.read_bytes()
    clip.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"clip\.\w+ (breaks off|cannot be read|has no frames)"):
        probe(clip)


def test_what_is_no_file_is_called_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for path, message in {
        "pipe.mp4": "is a pipe or device: give a video file",
        "folder.mp4": "is a folder: give a video file",
        "none.mp4": "there is no such video file",
        f"{'long' * 80}.mp4": "cannot be opened: File name too long",
        "nul\0.mp4": "cannot be the name of a video file",
    }.items():
        with pytest.raises(UserError, match=message):
            probe(tmp_path / path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_counting_clip(tmp_path / "clip.mp4", 3, fps=8)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"clip\.mp4 cannot be opened: Permission denied"):
        probe(clip)


def test_a_name_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_counting_clip(tmp_path / "http:clip.mp4", 3, fps=8)
    monkeypatch.chdir(tmp_path)
    assert probe("http:clip.mp4").num_frames == 3


def test_a_list_of_addresses_opens_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/clip.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n"
        (tmp_path / "list.mp4").write_text(playlist)
        with pytest.raises(UserError, match=r"list\.mp4 cannot be read as a video"):
            probe(tmp_path / "list.mp4")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    clip = write_counting_clip(tmp_path / "clip.mp4", 3, fps=8)
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzz9"))
    with pytest.raises(UserError, match=r"clip\.mp4 cannot be read as a video"):
        probe(clip)
