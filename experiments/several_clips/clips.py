"""Clips of one path with different looks: rendered, with their ground truth."""

from collections.abc import Sequence
from pathlib import Path

from motionmatcher.clips.contact_sheet import write_contact_sheet
from motionmatcher.clips.video import read_video, write_mp4
from testbed.reference_clips import FPS, Appearance, ground_truth, reference_scene
from testbed.renderer import render
from testbed.scenes import NUM_FRAMES
from testbed.truth import truth_file, write_truth

# Of the tuning motions; the first look is the shipped clip's. Those of a motion have no name in common, but
# for the styles, of which two show a camera.
LOOKS: dict[str, tuple[Appearance, ...]] = {
    "swing": (
        ("red", "circle", "plain", "white"),
        ("cyan", "triangle", "striped", "brown"),
        ("purple", "star", "gradient", "gray"),
    ),
    "sharp_turns": (
        ("yellow", "square", "gradient", "navy"),
        ("pink", "circle", "plain", "black"),
        ("blue", "star", "striped", "white"),
    ),
    "there_and_back": (
        ("green", "circle", "plain", "black"),
        ("orange", "square", "gradient", "navy"),
        ("purple", "triangle", "striped", "white"),
    ),
    "camera_follows": (
        ("orange", "star", "checkered", "teal"),
        ("purple", "circle", "dotted", "white"),
        ("cyan", "square", "checkered", "brown"),
    ),
}


def clip_files(folder: Path, motion: str) -> list[Path]:
    """Where the clips of a motion are or will be, one a look."""
    return [folder / f"{'_'.join((motion, *look))}.mp4" for look in LOOKS[motion]]


def render_clips(folder: Path, motions: Sequence[str]) -> None:
    """Render those clips that are not there, each after its ground truth."""
    for motion in motions:
        shapes = [shape for _, shape, *_ in LOOKS[motion]]
        for file, look in zip(clip_files(folder, motion), LOOKS[motion], strict=True):
            scene = motion, NUM_FRAMES, look, shapes
            if not (file.is_file() and truth_file(file).is_file()):
                write_truth(file, ground_truth(*scene))
                write_mp4(file, render(reference_scene(*scene)), FPS)


def show_clips(folder: Path, motions: Sequence[str], picture: Path) -> None:
    """Show the clips in one picture, a row each."""
    files = [file for motion in motions for file in clip_files(folder, motion)]
    write_contact_sheet(picture, [read_video(file)[0] for file in files], [f.stem for f in files])
