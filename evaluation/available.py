"""Load the scorers that are available here; the others are left out, with the reason."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.command import EVALUATION_DIR
from evaluation.folders import OutputFolder
from evaluation.scoring import Scorer
from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from evaluation.tracks import Tracker


def clip_scorers(
    args: Namespace,
    folders: Sequence[OutputFolder],
    reference: Frames,
    device: str,
    left_out: list[str],
) -> list[Scorer]:
    """Load CLIP; without prompts or weights it is left out. A wrong name is an error."""
    from evaluation.clip_scorer import ClipScorer, check_clip_choice, load_clip

    check_clip_choice(args.clip_model, args.clip_ckpt)
    if not has_prompts(folders):
        left_out.append("CLIP scores: not every video has a prompt (--prompt or a manifest.json).")
        return []
    try:
        encoder = load_clip(args.clip_model, args.clip_ckpt, device, args.batch_size)
    except UserError as error:
        left_out.append(f"CLIP scores: {error}")
        return []
    return [ClipScorer(encoder, reference)]


def image_reward_scorers(
    args: Namespace,
    parser: ArgumentParser,
    folders: Sequence[OutputFolder],
    device: str,
    left_out: list[str],
) -> list[Scorer]:
    """Load ImageReward; when it is not in its default place it is left out."""
    from evaluation.image_reward_files import find_files

    if not has_prompts(folders):
        left_out.append("ImageReward: not every video has a prompt.")
        return []
    try:
        checkpoint, vocabulary = find_files(args.imagereward_ckpt)
    except UserError as error:
        if args.imagereward_ckpt != parser.get_default("imagereward_ckpt"):
            raise
        left_out.append(f"ImageReward: {error}")
        return []
    from evaluation.image_reward import ImageRewardScorer

    return [ImageRewardScorer(checkpoint, vocabulary, device, args.batch_size)]


def choose_tracker(args: Namespace, device: str, left_out: list[str]) -> "Tracker":
    """Load the tracker asked for; when none is, CoTracker if it is there, else flow."""
    from evaluation.trackers import load_tracker

    choice = (args.grid_size, device, args.cotracker_ckpt, EVALUATION_DIR)
    if args.tracker or args.cotracker_ckpt:
        return load_tracker(args.tracker or "cotracker", *choice)
    try:
        return load_tracker("cotracker", *choice)
    except UserError as error:
        left_out.append(f"CoTracker; motion is measured with the flow tracker instead: {error}")
        return load_tracker("flow", *choice)


def has_prompts(folders: Sequence[OutputFolder]) -> bool:
    """Tell whether every video has a prompt."""
    return all(video.prompt is not None for folder in folders for video in folder.videos)
