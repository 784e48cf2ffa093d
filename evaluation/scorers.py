"""Load the models that score; those that are not available here are left out, with the reason."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.folders import OutputFolder
from evaluation.metrics import CLIP, GROUPS, MOTION, REWARD
from motionmatcher.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from evaluation.clip_scorer import ClipEncoder
    from evaluation.image_reward import ImageRewardScorer
    from evaluation.motion_scorer import MotionScorer
    from evaluation.scoring import Scorer
    from motionmatcher.clips.clip_file import Frames
    from motionmatcher.tracking.tracks import Tracker

EVALUATION_DIR = Path(__file__).parent
DEFAULT_IMAGE_REWARD = str(EVALUATION_DIR / "imagereward" / "ImageReward.pt")
TRACKERS = ("cotracker", "flow")


@dataclass(frozen=True, kw_only=True)
class ScorerSettings:
    """Which models score, and how.

    Attributes:
        clip_model: An open_clip architecture (the paper's by default), or a folder with a CLIP model
            of transformers.
        clip_ckpt: Weights of an open_clip architecture: a tag or a file.
        imagereward_ckpt: A checkpoint with BERT's vocab.txt beside it, or a hub id.
        tracker: Of `TRACKERS`; None: CoTracker when it is installed, else flow.
        cotracker_ckpt: CoTracker's checkpoint; None looks for one beside this module.
        grid_size: Tracks per side.
        height: Pixels that all videos are resized to for tracking; None: the reference's own.
        width: Likewise.
        batch_size: Frames per step of the models.
    """

    clip_model: str = "ViT-B-32-quickgelu"
    clip_ckpt: str = "openai"
    imagereward_ckpt: str = DEFAULT_IMAGE_REWARD
    tracker: str | None = None
    cotracker_ckpt: Path | None = None
    grid_size: int = 50
    height: int | None = None
    width: int | None = None
    batch_size: int = 16

    @property
    def tracker_asked_for(self) -> str | None:
        """The tracker that must not be replaced by another one."""
        return self.tracker or ("cotracker" if self.cotracker_ckpt else None)


@dataclass(frozen=True)
class Models:
    """What was loaded.

    Attributes:
        settings: What was asked for.
        encoder: CLIP.
        reward: ImageReward.
        tracker: Follows points.
        left_out: What is not there though everything available was asked for, and why.
    """

    settings: ScorerSettings
    encoder: "ClipEncoder | None" = None
    reward: "ImageRewardScorer | None" = None
    tracker: "Tracker | None" = None
    left_out: Sequence[str] = field(default_factory=list)

    def print_left_out(self) -> None:
        """Say what is not measured, and why."""
        for reason in self.left_out:
            print(f"left out: {reason}")

    def motion_scorer(self, reference: "Frames | None") -> "MotionScorer | None":
        """Track a reference clip, uint8 (F, H, W, 3), to compare videos with; None without both."""
        from evaluation.motion_scorer import MotionScorer

        if self.tracker is None or reference is None:
            return None
        return MotionScorer(self.tracker, reference, self.settings.height, self.settings.width)

    def frame_scorers(self, reference: "Frames | None") -> "list[Scorer]":
        """List what scores frame by frame, given a reference clip also its leakage."""
        scorers: list[Scorer] = []
        if self.encoder is not None:
            from evaluation.clip_scorer import ClipScorer

            scorers.append(ClipScorer(self.encoder, reference))
        if self.reward is not None:
            scorers.append(self.reward)
        return scorers


def check_scorers(settings: ScorerSettings, groups: Collection[str] | None) -> None:
    """Refuse what was asked for by name and is not there, before anything heavy loads.

    Args:
        settings: The models.
        groups: Of `metrics.GROUPS`; None: all that are available.

    Raises:
        UserError: Names what is unknown or missing and where to get it.
    """
    from evaluation.image_reward_files import find_files

    for group in groups or ():
        if group not in GROUPS:
            raise UserError(
                f"metrics: '{group}' is none of {', '.join(GROUPS)}.{did_you_mean(group, GROUPS)}"
            )
    if groups is None or CLIP in groups:
        from evaluation.clip_scorer import check_clip_choice

        check_clip_choice(settings.clip_model, settings.clip_ckpt)
    chosen = settings.imagereward_ckpt != DEFAULT_IMAGE_REWARD
    if (groups is None and chosen) or (groups is not None and REWARD in groups):
        find_files(settings.imagereward_ckpt)
    if settings.tracker_asked_for == "cotracker" and (groups is None or MOTION in groups):
        from evaluation.cotracker import find_checkpoint

        find_checkpoint(settings.cotracker_ckpt, EVALUATION_DIR)


def load_models(
    settings: ScorerSettings,
    groups: Collection[str] | None,
    device: str,
    have_prompts: bool = True,
    have_reference: bool = True,
) -> Models:
    """Load the models of some groups of metrics.

    Args:
        settings: Which models.
        groups: Of `metrics.GROUPS`; None: all that are available, the others are left out.
        device: Where to compute.
        have_prompts: Whether every video has a prompt.
        have_reference: Whether there is a reference clip.

    Raises:
        UserError: What was asked for by name cannot be loaded.
    """
    left_out: list[str] = []
    encoder = reward = tracker = None
    if groups is None or CLIP in groups:
        encoder = _load_clip(settings, device, have_prompts, left_out, groups is None)
    if groups is None or REWARD in groups:
        reward = _load_reward(settings, device, have_prompts, left_out, groups is None)
    if groups is not None and MOTION in groups and not have_reference:
        raise UserError(f"metrics: '{MOTION}' compares with a reference clip: give one.")
    if have_reference and (groups is None or MOTION in groups):
        tracker = _load_tracker(settings, device, left_out)
    elif groups is None:
        left_out.append("motion: there is no reference clip.")
    return Models(settings, encoder, reward, tracker, left_out)


def have_prompts(folders: Sequence[OutputFolder]) -> bool:
    """Tell whether every video has a prompt."""
    return all(video.prompt is not None for folder in folders for video in folder.videos)


def _load_clip(
    settings: ScorerSettings,
    device: str,
    have_prompts: bool,
    left_out: list[str],
    may_be_missing: bool,
) -> "ClipEncoder | None":
    from evaluation.clip_scorer import load_clip

    if not have_prompts:
        left_out.append("CLIP scores: not every video has a prompt (--prompt or a manifest.json).")
        return None
    try:
        return load_clip(settings.clip_model, settings.clip_ckpt, device, settings.batch_size)
    except UserError as error:
        if not may_be_missing:
            raise
        left_out.append(f"CLIP scores: {error}")
        return None


def _load_reward(
    settings: ScorerSettings,
    device: str,
    have_prompts: bool,
    left_out: list[str],
    may_be_missing: bool,
) -> "ImageRewardScorer | None":
    from evaluation.image_reward_files import find_files

    if not have_prompts:
        left_out.append("ImageReward: not every video has a prompt.")
        return None
    try:
        checkpoint, vocabulary = find_files(settings.imagereward_ckpt)
    except UserError as error:
        if not may_be_missing or settings.imagereward_ckpt != DEFAULT_IMAGE_REWARD:
            raise
        left_out.append(f"ImageReward: {error}")
        return None
    from evaluation.image_reward import ImageRewardScorer

    return ImageRewardScorer(checkpoint, vocabulary, device, settings.batch_size)


def _load_tracker(settings: ScorerSettings, device: str, left_out: list[str]) -> "Tracker":
    """Load the tracker asked for; when none is, CoTracker if it is there, else flow."""
    from evaluation.trackers import load_tracker

    choice = (settings.grid_size, device, settings.cotracker_ckpt, EVALUATION_DIR)
    if settings.tracker_asked_for:
        return load_tracker(settings.tracker_asked_for, *choice)
    try:
        return load_tracker("cotracker", *choice)
    except UserError as error:
        left_out.append(f"CoTracker; motion is measured with the flow tracker instead: {error}")
        return load_tracker("flow", *choice)
