"""Clips are read frame by frame, fitted without stretching, and written so that browsers play them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launching import full_disk

from motionmatcher.clips.frame_choice import FrameChoice, check_length
from motionmatcher.clips.video import (
    Frames,
    bucket_size,
    fit_frames,
    probe,
    read_clip,
    read_video,
    write_gif,
    write_mp4,
)
from motionmatcher.errors import UserError


def gray_frames(num_frames: int = 10, width: int = 32, height: int = 24) -> Frames:
    """Frame i is 20 * i everywhere, so that a frame tells its index."""
    levels = np.arange(num_frames, dtype=np.uint8) * 20
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def frame_indices(frames: Frames) -> list[int]:
    return [round(float(level) / 20) for level in frames.mean((1, 2, 3))]


@pytest.fixture(scope="module")
def counting_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "count.mp4"
    write_mp4(path, gray_frames(), fps=5)
    return path


def test_probe(counting_clip: Path) -> None:
    info = probe(counting_clip)
    assert (info.num_frames, info.width, info.height) == (10, 32, 24)
    assert info.fps == pytest.approx(5)


@pytest.mark.parametrize(
    ("start", "step", "count", "indices"),
    [
        (0, 1, 10, list(range(10))),
        (3, 1, 4, [3, 4, 5, 6]),
        (1, 4, 3, [1, 5, 9]),
        (9, 7, 1, [9]),
        (0, 3, 4, [0, 3, 6, 9]),
    ],
)
def test_frames_are_read_in_order_from_start_in_steps(
    counting_clip: Path, start: int, step: int, count: int, indices: list[int]
) -> None:
    frames = read_clip(counting_clip, FrameChoice(start, step), count)
    assert frames.shape == (count, 24, 32, 3)
    assert frames.dtype == np.uint8
    assert frame_indices(frames) == indices


@pytest.mark.parametrize(
    ("start", "step", "count", "needed"), [(0, 1, 11, 11), (1, 4, 4, 14), (10, 1, 1, 11)]
)
def test_a_clip_that_is_too_short(
    counting_clip: Path, start: int, step: int, count: int, needed: int
) -> None:
    message = (
        f"count.mp4 has 10 frames, but sample_start_idx {start}, frame_step {step} and "
        f"n_sample_frames {count} need {needed}: lower one of them or take a longer clip"
    )
    with pytest.raises(UserError, match=message):
        read_clip(counting_clip, FrameChoice(start, step), count)


def test_check_length_at_the_edge() -> None:
    check_length("clip.mp4", 10, start=1, step=4, count=3)
    with pytest.raises(UserError, match="need 11"):
        check_length("clip.mp4", 10, start=2, step=4, count=3)


def test_mp4_round_trip(tmp_path: Path) -> None:
    ramp = np.linspace(20, 235, 64).round().astype(np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (6, 48, 64, 3)).copy()
    frames[3:, :24] = 128
    write_mp4(tmp_path / "clip.mp4", frames, fps=12)
    read, fps = read_video(tmp_path / "clip.mp4")
    assert read.shape == frames.shape
    assert fps == pytest.approx(12)
    assert np.abs(read.astype(int) - frames).mean() < 2


def test_the_mp4_is_h264_that_browsers_play(counting_clip: Path) -> None:
    content = counting_clip.read_bytes()
    assert b"avc1" in content, "the codec must be H.264"
    assert content.index(b"moov") < content.index(b"mdat"), "playing must start before the end"


def test_odd_sizes_get_a_repeated_line(tmp_path: Path) -> None:
    frames = gray_frames(3, width=33, height=25)
    frames[:, -1] = 255
    write_mp4(tmp_path / "odd.mp4", frames, fps=8)
    read, _ = read_video(tmp_path / "odd.mp4")
    assert read.shape == (3, 26, 34, 3)
    assert read[:, -2:].min() > 200
    assert read[0, :20, -1].max() < 40


def test_gif_round_trip(tmp_path: Path) -> None:
    frames = gray_frames(4)
    write_gif(tmp_path / "clip.gif", frames, fps=10)
    read, fps = read_video(tmp_path / "clip.gif")
    assert frame_indices(read) == [0, 1, 2, 3]
    assert fps == pytest.approx(10)
    assert b"NETSCAPE2.0" in (tmp_path / "clip.gif").read_bytes(), "it must loop"


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    for kind, write in (("mp4", write_mp4), ("gif", write_gif)):
        paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
        for path in paths:
            write(path, noise, 8)
        assert paths[0].read_bytes() == paths[1].read_bytes(), kind


@pytest.mark.parametrize("fps", [50, 60, 1000])
def test_a_gif_is_not_played_faster_than_players_can(tmp_path: Path, fps: float) -> None:
    write_gif(tmp_path / "clip.gif", gray_frames(4), fps)
    assert probe(tmp_path / "clip.gif").fps == 50


@pytest.mark.parametrize("room", [100, 3000, 20_000])
def test_a_full_disk_is_noticed_and_leaves_what_was_there(tmp_path: Path, room: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    (tmp_path / "clip.mp4").write_bytes(b"an older video")
    with full_disk(room), pytest.raises(UserError, match=r"clip\.mp4 cannot be written: \w+"):
        write_mp4(tmp_path / "clip.mp4", noise, fps=8)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"an older video"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("exit 0", r"clip\.mp4 cannot be written: 0 of its 8 frames can be read back"),
        (
            "echo first >&2; echo '[out#0 @ 0x1] No space' >&2; exit 1",
            r"clip\.mp4 cannot be written: No space\.",
        ),
        ("kill -9 $$", r"clip\.mp4 cannot be written: ffmpeg ended with -9"),
    ],
)
def test_an_encoder_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    encoder = tmp_path / "ffmpeg"
    encoder.write_text(f"#!/bin/sh\n{program}\n")
    encoder.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(UserError, match=message):
        write_mp4(tmp_path / "videos" / "clip.mp4", gray_frames(8), fps=8)
    assert list((tmp_path / "videos").iterdir()) == []


@pytest.mark.parametrize("read", [probe, read_video])
def test_a_file_that_is_not_there(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(UserError, match=r"none\.mp4: there is no such video file"):
        read(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"this is text, not a video" * 50], ids=["empty", "text"])
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(content)
    with pytest.raises(
        UserError, match=r"fake\.mp4 cannot be read as a video: is it one, and whole"
    ):
        read_clip(fake, FrameChoice(), 1)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    write_mp4(path, np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8), 8)
    return path.read_bytes()


def test_a_clip_without_its_header(tmp_path: Path, long_clip: bytes) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(long_clip[:500])
    with pytest.raises(
        UserError, match=r"cut\.mp4 cannot be read as a video: is it one, and whole"
    ):
        read_clip(cut, FrameChoice(), 30)


def test_a_clip_that_was_cut_off_is_never_filled_up(tmp_path: Path, long_clip: bytes) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(long_clip[: len(long_clip) // 2])
    with pytest.raises(
        UserError, match=r"cut\.mp4 (has 1\d frames, but|breaks off|cannot be read)"
    ):
        read_clip(cut, FrameChoice(), 30)


@pytest.mark.parametrize(
    ("clip", "size"), [((80, 40), (32, 32)), ((40, 80), (32, 32)), ((60, 60), (48, 32))]
)
def test_a_circle_stays_a_circle(clip: tuple[int, int], size: tuple[int, int]) -> None:
    (clip_width, clip_height), (width, height) = clip, size
    y, x = np.mgrid[:clip_height, :clip_width]
    radius = 15
    inside = (x - (clip_width - 1) / 2) ** 2 + (y - (clip_height - 1) / 2) ** 2 <= radius**2
    frames = np.repeat((inside * 255).astype(np.uint8)[None, ..., None], 3, axis=3)
    fitted = fit_frames(frames, width, height)
    assert fitted.shape == (1, 3, height, width)
    assert fitted.dtype == torch.uint8
    bright = fitted[0, 0].float() / 255
    across, down = bright[height // 2].sum(), bright[:, width // 2].sum()
    scale = max(width / clip_width, height / clip_height)
    assert across == pytest.approx(2 * radius * scale, abs=1.5)
    assert down == pytest.approx(across, abs=1.0)
    centre = (torch.nonzero(bright > 0.5).float().mean(0) + 0.5).tolist()
    assert centre == pytest.approx([height / 2, width / 2], abs=0.6)


def test_the_centre_is_cropped_and_pixels_kept_when_no_resize_is_needed() -> None:
    frames = np.arange(2 * 4 * 9 * 3, dtype=np.uint8).reshape(2, 4, 9, 3)
    fitted = fit_frames(frames, width=4, height=4)
    expected = torch.from_numpy(frames[:, :, 2:6]).permute(0, 3, 1, 2)  # (9 - 4) // 2 = 2
    assert torch.equal(fitted, expected)
    tall = np.ascontiguousarray(frames.transpose(0, 2, 1, 3))
    assert torch.equal(fit_frames(tall, width=4, height=4), expected.transpose(2, 3))


def test_the_same_size_is_left_as_it_is() -> None:
    frames = gray_frames(2)
    assert torch.equal(fit_frames(frames, 32, 24), torch.from_numpy(frames).permute(0, 3, 1, 2))


def test_halving_a_clip_averages_it() -> None:
    frames = np.zeros((1, 64, 128, 3), np.uint8)
    frames[:, :, ::2] = 200  # stripes of one pixel
    fitted = fit_frames(frames, width=64, height=32)
    assert fitted.shape == (1, 3, 32, 64)
    inner = fitted[..., 4:-4].float()
    assert inner.mean().item() == pytest.approx(100, abs=1)
    assert inner.std().item() < 12, "stripes must not turn into moiré"


def test_shrinking_counts_all_pixels_and_rounds() -> None:
    frames = np.zeros((1, 16, 64, 3), np.uint8)
    frames[:, :, ::4] = 200  # one column in four
    inner = fit_frames(frames, width=16, height=4)[..., 2:-2].float()
    assert inner.sub(50).abs().max() <= 4
    noise = np.random.default_rng(0).integers(64, 192, (1, 128, 128, 3), np.uint8)
    assert fit_frames(noise, 64, 64).float().mean() == pytest.approx(noise.mean(), abs=0.2)


@pytest.mark.parametrize(
    ("asked", "clip", "bucket"),
    [
        ((384, 384), (384, 384), (384, 384)),
        ((384, 384), (1920, 1080), (512, 256)),  # 512.0 x 288.0; 4.5 * 64 rounds to 4 * 64
        ((384, 384), (1080, 1920), (256, 512)),
        ((576, 320), (1024, 576), (576, 320)),  # 572.4 x 322.0
        ((64, 64), (1000, 100), (192, 64)),  # 202.4 x 20.2, at least 64
    ],
)
def test_bucket_size(
    asked: tuple[int, int], clip: tuple[int, int], bucket: tuple[int, int]
) -> None:
    assert bucket_size(*asked, *clip) == bucket


@pytest.mark.parametrize("width", [48, 72, 64])
def test_narrow_clips(tmp_path: Path, width: int) -> None:
    frames = np.zeros((3, 40, width, 3), np.uint8)
    frames[:, :, : width // 2] = (200, 40, 90)
    write_mp4(tmp_path / "narrow.mp4", frames, fps=8)
    read, _ = read_video(tmp_path / "narrow.mp4")
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 4
    assert probe(tmp_path / "narrow.mp4").width == width
    assert len(read_clip(tmp_path / "narrow.mp4", FrameChoice(1, 1), 2)) == 2
