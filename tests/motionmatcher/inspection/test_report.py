"""The report on a clip file: what is found in the frames that training reads, and what is advised."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoding import ffmpeg
from launching import PROJECT
from PIL import Image
from small_models import Motion

from motionmatcher.clips.video import Frames, write_mp4
from motionmatcher.config.loading import load_settings
from motionmatcher.config.settings import TrainData
from motionmatcher.errors import UserError
from motionmatcher.inspection import ClipReport, inspect_clip, sheet
from motionmatcher.inspection import report as report_module
from motionmatcher.inspection.sheet import CURVE_HEIGHT, draw_curves, write_sheet
from motionmatcher.inspection.windows import Window
from motionmatcher.inspection.wording import describe

CONFIGS = sorted((PROJECT / "configs" / "moving_shapes").glob("config_*.yaml"))
SIZE = 64
DIAGONAL = SIZE * 2**0.5


def data(**settings: Any) -> TrainData:
    plain = TrainData(
        single_video_path="", single_video_prompt="", width=SIZE, height=SIZE, n_sample_frames=8
    )
    return dataclasses.replace(plain, **settings)


@pytest.fixture(scope="module")
def panned(
    tmp_path_factory: pytest.TempPathFactory,
    render: Callable[..., Frames],
    similarity: Callable[..., Motion],
) -> Path:
    """24 frames at 8 fps: a picture that stands still for 12 frames, then goes 2 pixels a frame."""
    motions = [similarity(SIZE, pan=(2.0 * max(frame - 11, 0), 0.0)) for frame in range(24)]
    path = tmp_path_factory.mktemp("panned") / "panned.mp4"
    write_mp4(path, render(SIZE, motions), fps=8)
    return path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_of_the_clips_that_ship_one_is_fast(config: Path) -> None:
    settings = load_settings(config)
    report = inspect_clip(PROJECT / settings.train_data.single_video_path, settings, suggest=True)
    fast = [note for note in report.notes if "much moves by more than 33 %" in note]
    assert report.notes == fast
    # Its object goes by 35, 44 and again 35 % of the diagonal: half the width of the picture.
    assert len(fast) == (config.stem == "config_figure_eight")
    assert all("a clip with more frames per second may be followed" in note for note in fast)
    assert report.overrides == ()
    assert report.window.frames == tuple(range(8))


def test_the_window_that_is_read_is_looked_at_and_nothing_else(panned: Path) -> None:
    report = inspect_clip(panned, data(sample_start_idx=13))
    assert report.window.frames == tuple(range(13, 21))
    assert report.window.camera == pytest.approx([100 * 2 / DIAGONAL] * 7, abs=0.3)
    assert max(report.window.objects) < 1
    assert report.notes == []
    twice = inspect_clip(panned, data(sample_start_idx=12, n_sample_frames=4, frame_step=2, fps=4))
    assert twice.window.camera == pytest.approx([200 * 2 / DIAGONAL] * 3, abs=0.6)
    by_time = inspect_clip(panned, data(start_s=1.5, duration_s=1, n_sample_frames=4, fps=4))
    assert by_time.window.frames == (12, 14, 16, 18)
    whole = inspect_clip(panned)
    assert whole.window.frames == tuple(range(24))


def test_of_a_long_clip_a_part_is_looked_at(panned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_SURVEYED", 14)
    whole = inspect_clip(panned)
    assert whole.window.frames == tuple(range(14))
    assert whole.notes[-1] == (
        f"{panned}: only its first 14 of 24 frames are looked at: --config FILE looks at those that training "
        "reads, wherever they are."
    )
    # It stands still as far as frame 11, so of the first 14 the last window moves most.
    first = inspect_clip(panned, data(), suggest=True)
    assert first.candidates[0].frames == tuple(range(6, 14))
    assert all(window.frames[-1] < 14 for window in first.candidates)
    assert first.notes[-1] == (
        f"{panned}: better frames are looked for among the frames 0 to 13 of 24 alone: move that by "
        "train_data.sample_start_idx."
    )
    later = inspect_clip(panned, data(start_s=2, fps=8), suggest=True)
    assert all(window.frames[0] >= 10 for window in later.candidates)
    assert later.candidates[0].frames[0] >= 11
    assert later.notes[-1].endswith(
        "among the frames 10 to 23 of 24 alone: move that by train_data.start_s."
    )


def test_a_still_window_and_the_better_one(panned: Path) -> None:
    report = inspect_clip(panned, data(), suggest=True)
    assert report.notes == [
        f"{panned}: hardly anything moves, {report.window.travel:.1f} % of the diagonal in all: take "
        "other frames, or a larger train_data.frame_step."
    ]
    assert report.candidates[0].frames[0] >= 8  # at least four of its seven steps move
    start = report.candidates[0].frames[0]
    assert report.overrides == (
        f"train_data.sample_start_idx={start}",
        "train_data.frame_step=1",
    )
    taken = inspect_clip(panned, data(sample_start_idx=start), suggest=True)
    assert (taken.notes, taken.overrides) == ([], ())
    by_time = inspect_clip(panned, data(duration_s=1.0), suggest=True)
    assert by_time.overrides[2:] == ("train_data.start_s=null", "train_data.duration_s=null")


def test_a_cut_is_named_by_its_frame_and_avoided(
    tmp_path: Path, render: Callable[..., Frames], similarity: Callable[..., Motion]
) -> None:
    motions = [similarity(SIZE, pan=(2.0 * frame, 0.0)) for frame in range(12)]
    scenes = [render(SIZE, motions[:5], seed=1), render(SIZE, motions, seed=2)]
    path = tmp_path / "cut.mp4"
    write_mp4(path, np.concatenate(scenes), fps=8)
    report = inspect_clip(path, data(), suggest=True)
    assert report.window.cuts == (5,)
    assert report.notes == [
        f"{path}: another scene begins with frame 5; choose frames of one scene by "
        "train_data.sample_start_idx."
    ]
    assert report.candidates[0].frames[0] >= 5
    crossing = [window for window in report.candidates if window.cuts]
    assert crossing
    lines = list(describe(report))
    assert sum(", a cut at 5; camera" in line for line in lines) == len(crossing)
    assert report.overrides == (
        f"train_data.sample_start_idx={report.candidates[0].frames[0]}",
        "train_data.frame_step=1",
    )
    # Read in steps of two, it lies between frames 4 and 6 of the clip.
    assert inspect_clip(path, data(n_sample_frames=4, frame_step=2)).window.cuts == (6,)


def test_repeated_frames_and_bars(
    tmp_path: Path, render: Callable[..., Frames], similarity: Callable[..., Motion]
) -> None:
    motions = [similarity(SIZE, pan=(2.0 * frame, 0.0)) for frame in range(8)]
    frames = np.repeat(render(SIZE, motions), 2, axis=0)
    frames[:, :8] = frames[:, -8:] = 0
    path = tmp_path / "repeats.mp4"
    write_mp4(path, frames, fps=16)
    report = inspect_clip(path, data(fps=16), suggest=True)
    assert report.window.repeats == (1, 3, 5, 7)
    top, bottom = report.bars.top, report.bars.bottom
    assert (top, bottom) == pytest.approx((8 / SIZE, 8 / SIZE), abs=0.02)
    assert report.notes == [
        f"{path}: 4 of 8 frames show nothing new (1, 3, 5, 7): a larger train_data.frame_step, or ffmpeg's "
        "filter mpdecimate, leaves repeats out.",
        f"{path}: black bars (top {top:.0%}, bottom {bottom:.0%}) are learned as part of the framing; "
        "cut them off first, with ffmpeg's filter crop.",
    ]
    assert report.overrides == ("train_data.sample_start_idx=0", "train_data.frame_step=2")
    assert "cuts: none; repeated frames: 4 (1, 3, 5, 7)" in describe(report)
    many = replace(report, window=replace(report.window, repeats=tuple(range(1, 20))))
    assert "cuts: none; repeated frames: 19 (1, 2, 3, 4, 5, 6, …)" in describe(many)


def test_what_the_crop_of_training_does_not_see(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(60, 255, (8, 32, 96, 3), np.uint8)
    frames[:, :, :24] = 0  # outside of the square in the middle
    write_mp4(tmp_path / "wide.mp4", frames, fps=8)
    report = inspect_clip(tmp_path / "wide.mp4", data())
    assert not report.bars
    assert report.notes[0] == (
        f"{tmp_path / 'wide.mp4'}: 67% of its 96x32 pixels are cropped away for 64x64; "
        "train_data.use_bucketing=true keeps its shape."
    )
    bucketed = inspect_clip(tmp_path / "wide.mp4", data(use_bucketing=True))
    # Its bucket is 128x64, so 64 of the 96 columns are left, 8 of them black.
    assert bucketed.bars.left == pytest.approx(8 / 64, abs=0.02)
    assert not [note for note in bucketed.notes if "cropped" in note]


def test_a_turned_clip_with_oblong_pixels(clip_path: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    wide = tmp_path / "wide.mp4"
    ffmpeg("-i", clip_path, "-vf", "setsar=4/3", wide)
    ffmpeg("-display_rotation", 90, "-i", wide, "-c", "copy", turned)
    report = inspect_clip(turned)
    assert (report.width, report.height) == (64, 107)
    assert report.turn == "by 90 degrees counterclockwise"
    assert report.pixel_aspect == pytest.approx(4 / 3)
    first, *_ = describe(report)
    assert first == (
        f"{turned}: 12 frames, 8 fps (constant rate), 64x107, turned by 90 degrees counterclockwise, "
        "pixels 1.333 times as wide as high, made square"
    )


def test_a_clip_whose_rate_varies(tmp_path: Path) -> None:
    frames = [Image.new("L", (32, 32), 15 * index) for index in range(14)]
    delays = [100] * 10 + [500] * 4
    path = tmp_path / "varying.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=delays)
    report = inspect_clip(path, data(n_sample_frames=4), suggest=True)
    assert report.varies
    assert "its frame rate varies: 24 frames are taken at even steps (8 fps)" in report.notes[0]
    by_time = inspect_clip(path, data(n_sample_frames=4, start_s=1.0), suggest=True)
    assert by_time.candidates == ()
    assert "leave out start_s and duration_s" in by_time.notes[-1]


def test_clips_that_are_too_short(clip_path: Path) -> None:
    with pytest.raises(UserError, match="has 12 frames, but sample_start_idx 5"):
        inspect_clip(clip_path, data(sample_start_idx=5))
    report = inspect_clip(clip_path, suggest=True)
    assert report.candidates == ()
    assert report.notes[-1] == (
        f"{clip_path}: 12 frames are too few to choose n_sample_frames 16 of: lower it, or take a longer "
        "clip."
    )


def test_one_frame_and_a_very_small_clip(clip_path: Path, tmp_path: Path) -> None:
    assert inspect_clip(clip_path, data(n_sample_frames=1)).window.camera == ()
    write_mp4(tmp_path / "small.mp4", np.zeros((3, 2, 2, 3), np.uint8), fps=8)
    report = inspect_clip(tmp_path / "small.mp4")
    assert report.window.frames == (0, 1, 2)


def test_the_sheet_has_a_row_and_curves_for_each_candidate(panned: Path, tmp_path: Path) -> None:
    report = inspect_clip(panned, data(), suggest=True)
    write_sheet(tmp_path / "sheet.png", report)
    write_sheet(tmp_path / "one.png", dataclasses.replace(report, candidates=()))
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "one.png") as one:
        assert sheet.height == len(report.candidates) * one.height


def rows_of(curves: Frames) -> tuple[float, float]:
    """Mean rows of the objects' and of the camera's curve."""
    reds = (curves[..., 0] > 200) & (curves[..., 2] < 100)
    blues = (curves[..., 2] > 150) & (curves[..., 0] < 100)
    return np.flatnonzero(reds.any(1)).mean(), np.flatnonzero(blues.any(1)).mean()


def test_curves_are_as_high_as_the_steps() -> None:
    steady = Window((0, 1, 2), (0.0, 0.0), (33.0, 33.0), (False,) * 2, (), ())
    curves = draw_curves(steady, 50, top=33.0)
    assert curves.shape == (CURVE_HEIGHT, 50, 3)
    assert rows_of(curves) == pytest.approx((4, CURVE_HEIGHT - 5), abs=1)
    (middle, low) = rows_of(draw_curves(steady, 50, top=66.0))
    assert (middle, low) == pytest.approx((CURVE_HEIGHT / 2, CURVE_HEIGHT - 5), abs=1)


def test_curves_of_a_sheet_reach_its_top(
    panned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip's usual motion, of a few percent a step, is no flat line; all curves have one scale."""
    tops: list[float] = []

    def watched(window: Window, width: int, top: float) -> Frames:
        tops.append(top)
        return draw_curves(window, width, top)

    monkeypatch.setattr(sheet, "draw_curves", watched)
    report = inspect_clip(panned, data(), suggest=True)
    write_sheet(tmp_path / "sheet.png", report)
    assert set(tops) == {max(max(window.speeds) for window in report.candidates)}
    assert 1 < tops[0] < 5
    still = dataclasses.replace(report.window, camera=(0.0,) * 7, objects=(0.1,) * 7)
    write_sheet(tmp_path / "still.png", dataclasses.replace(report, candidates=(still,)))
    assert tops[-1] == sheet.LEAST_TOP


def test_the_report_is_typed(panned: Path) -> None:
    assert isinstance(inspect_clip(panned), ClipReport)
