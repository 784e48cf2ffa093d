"""Folders of videos to be scored, and what their `manifest.json` says of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from motionmatcher.clips.clip_file import ClipFile, Frames
from motionmatcher.clips.video import VIDEO_SUFFIXES
from motionmatcher.errors import UserError
from motionmatcher.paths import require_folder
from motionmatcher.runs.manifest import MANIFEST_NAME, read_whole_manifest

MIN_FRAMES = 2


@dataclass(frozen=True)
class OutputVideo:
    """One video to be scored.

    Attributes:
        path: The file.
        prompt: What it was made from; None when nobody says.
        seed: Likewise.
        settings: What else the manifest says of how it was made.
        notes: What is done to it when it is read.
        clip: The file, opened; None of a video that a manifest lists, which may not be there.
    """

    path: Path
    prompt: str | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    clip: ClipFile | None = field(default=None, compare=False, repr=False)

    def read(self) -> Frames:
        """Read all frames, uint8 (F, H, W, 3).

        Raises:
            UserError: The file was changed since it was opened.
        """
        clip = self.clip or ClipFile(self.path)
        return clip.read(range(len(clip)))


@dataclass(frozen=True)
class ReferenceVideo:
    """The clip whose motion the videos shall have.

    Attributes:
        path: The file.
        frames: uint8 (F, H, W, 3).
        fps: Frames per second.
    """

    path: Path
    frames: Frames
    fps: float

    @property
    def duration_s(self) -> float:
        """Its length."""
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class UnreadableVideo:
    """A file that has a video's name and cannot be read as one, or has one frame only."""

    path: Path
    reason: str


@dataclass(frozen=True)
class OutputFolder:
    """A folder's videos in natural order, those that can be read and those that cannot."""

    path: Path
    videos: tuple[OutputVideo, ...]
    unreadable: tuple[UnreadableVideo, ...] = ()


def open_folder(path: Path, prompt: str | None = None, needs_prompt: bool = False) -> OutputFolder:
    """List a folder's videos and decode them once, so that all faults are known before any model.

    Args:
        path: The folder; its subfolders are not looked into.
        prompt: Holds for all videos. None: each video's own prompt from the folder's manifest.
        needs_prompt: Whether a video without a prompt is an error.

    Returns:
        The videos; those that cannot be read to their end, or have one frame only, are listed apart.

    Raises:
        UserError: No folder, no videos, none that can be scored, a bad manifest or prompt.
    """
    require_folder(path, "folder of videos")
    if prompt is not None and not prompt.strip():
        raise UserError("--prompt is empty: say what the videos should show.")
    files = list_videos(path)
    if not files:
        raise UserError(f"{path} holds no videos ({', '.join(VIDEO_SUFFIXES)}).")
    manifest = read_outputs(path)

    videos, unreadable = [], []
    for file in tqdm(files, desc=f"reading {path}", unit="video", leave=False, delay=2):
        try:
            clip = open_moving(file)
        except UserError as error:
            unreadable.append(UnreadableVideo(file, str(error)))
            continue
        made = manifest[file.name] if file.name in manifest else OutputVideo(file)
        notes = (clip.timeline.note,) if clip.timeline.note else ()
        video = OutputVideo(file, prompt or made.prompt, made.seed, made.settings, notes, clip)
        if needs_prompt and video.prompt is None:
            raise UserError(
                f'{file} has no prompt: give --prompt "…" or put a {MANIFEST_NAME} beside it.'
            )
        videos.append(video)
    if not videos:
        raise UserError(
            f"{path}: none of its {len(files)} videos can be scored: {unreadable[0].reason}"
        )
    return OutputFolder(path, tuple(videos), tuple(unreadable))


def list_videos(folder: Path) -> list[Path]:
    """List a folder's video files in natural order, hidden files left out.

    A GIF beside another video of the same name is that video's preview and not one more video.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")
    ]
    others = {file.stem for file in files if file.suffix.lower() != ".gif"}
    return natural_sort(
        file for file in files if file.suffix.lower() != ".gif" or file.stem not in others
    )


def read_reference(path: Path, quiet: bool = False) -> ReferenceVideo:
    """Read the reference clip, and say so when its frame rate varies.

    Raises:
        UserError: It cannot be read or has one frame only.
    """
    clip = open_moving(path)
    if clip.timeline.note is not None and not quiet:
        print(f"note: {path}: {clip.timeline.note}.")
    return ReferenceVideo(path, clip.read(range(len(clip))), clip.timeline.fps)


def open_moving(path: Path) -> ClipFile:
    """Open a video in which something can move.

    Raises:
        UserError: It cannot be read or has one frame only.
    """
    clip = ClipFile(path)
    if len(clip) < MIN_FRAMES:
        raise UserError(f"{path} has one frame only: to be scored, a video needs two or more.")
    return clip


def read_outputs(folder: Path) -> dict[str, OutputVideo]:
    """Read what inference wrote of a folder's videos.

    Args:
        folder: Its `manifest.json` need not exist. Keys it has beyond the known ones are ignored.

    Returns:
        The videos by file name.

    Raises:
        UserError: The manifest is damaged, or an entry lacks a key.
    """
    videos = [_output_video(folder, entry) for entry in read_whole_manifest(folder)]
    return {video.path.name: video for video in videos}


def natural_sort(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by name the way people count: clip-2 before clip-10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.findall(r"\d+|\D+", path.name.lower())
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]

    return sorted(paths, key=lambda path: (key(path), path.name))


def _output_video(folder: Path, entry: Mapping[str, Any]) -> OutputVideo:
    shown = {name: entry[name] for name in ("negative_prompt", "checkpoint") if entry[name]}
    settings = shown | entry["settings"]
    return OutputVideo(folder / entry["file"], entry["prompt"], entry["seed"], settings)
