"""What to know of a reference clip before it is trained on, one line each."""

from collections.abc import Iterator
from itertools import pairwise

from motionmatcher.clips.clip_file import ClipFile
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.config.settings import TrainData
from motionmatcher.inspection.bars import Bars
from motionmatcher.inspection.windows import FAST_STEP, Window, list_frames

# Share of the picture that may be cropped away without a word.
CROPPED = 0.25
# Frames that may show nothing new without a word: something may stand still for a moment.
FEW_REPEATS = 1


def rate_notes(clip: ClipFile, data: TrainData) -> list[str]:
    """Say how a clip's rate goes with the settings."""
    path, timeline = data.single_video_path, clip.timeline
    varies = None if timeline.note is None else f"{path}: {timeline.note}."
    rate = FrameChoice.of(data).rate_note(path, timeline.fps, data.fps)
    return [note for note in (varies, rate) if note is not None]


def crop_notes(clip: ClipFile, data: TrainData) -> list[str]:
    """Say how much of the picture training does not see, where that is much."""
    if data.use_bucketing:
        return []
    cover = min(clip.width / data.width, clip.height / data.height)
    lost = 1 - data.width * data.height * cover**2 / (clip.width * clip.height)
    if lost <= CROPPED:
        return []
    return [
        f"{data.single_video_path}: {lost:.0%} of its {clip.width}x{clip.height} pixels are cropped away "
        f"for {data.width}x{data.height}; train_data.use_bucketing=true keeps its shape."
    ]


def window_notes(
    data: TrainData, window: Window, bars: Bars, place: str = "train_data"
) -> Iterator[str]:
    """Say what is wrong with the frames that are read, and which setting at a place helps."""
    path, by_time = data.single_video_path, FrameChoice.of(data).by_time
    start = f"{place}.{'start_s' if by_time else 'sample_start_idx'}"
    step = f"{place}.{'duration_s' if by_time else 'frame_step'}"
    if window.cuts:
        yield (
            f"{path}: another scene begins with frame {list_frames(window.cuts)}; choose frames of one "
            f"scene by {start}."
        )
    if len(window.repeats) > FEW_REPEATS:
        yield (
            f"{path}: {len(window.repeats)} of {len(window.frames)} frames show nothing new "
            f"({list_frames(window.repeats)}): a larger {step}, or ffmpeg's filter mpdecimate, leaves "
            "repeats out."
        )
    if bars:
        sides = {"top": bars.top, "bottom": bars.bottom, "left": bars.left, "right": bars.right}
        shares = ", ".join(f"{side} {share:.0%}" for side, share in sides.items() if share)
        yield (
            f"{path}: black bars ({shares}) are learned as part of the framing; cut them off first, with "
            "ffmpeg's filter crop."
        )
    if window.is_still:
        yield (
            f"{path}: hardly anything moves, {window.travel:.1f} % of the diagonal in all: take other "
            f"frames, or a larger {step}."
        )
    if window.is_fast:
        skips = any(after - before > 1 for before, after in pairwise(window.frames))
        finer = f"a smaller {step}" if skips else "a clip with more frames per second"
        yield (
            f"{path}: much moves by more than {FAST_STEP:g} % of the diagonal from frame to frame, or is "
            f"lost from sight: {finer} may be followed better."
        )
