"""Point tracks by CoTracker 2 or 3, which its users install from its repository."""

import inspect
from pathlib import Path
from typing import Any

import torch

from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError
from motionmatcher.paths import require_file
from motionmatcher.tracking.tracks import Tracks

CHECKPOINT_NAMES = ("cotracker2.pth", "scaled_offline.pth", "baseline_offline.pth")
INSTALL = "pip install git+https://github.com/facebookresearch/co-tracker"
DOWNLOAD = "hf download facebook/cotracker cotracker2.pth --local-dir evaluation"
REMEDY = f"`{INSTALL}` and `{DOWNLOAD}`, or take --tracker flow, which needs neither"


def find_checkpoint(chosen: Path | None, folder: Path) -> Path:
    """Find the checkpoint to use, and check that CoTracker is installed, without loading either.

    Args:
        chosen: What `--cotracker_ckpt` says.
        folder: Where to look when it says nothing.

    Returns:
        The checkpoint's path.

    Raises:
        UserError: CoTracker or its checkpoint is missing, or there are several to choose from.
    """
    from importlib.util import find_spec

    if find_spec("cotracker") is None:
        raise UserError(f"CoTracker is not installed: {REMEDY}.")
    if chosen is not None:
        if not chosen.exists() and not chosen.is_symlink():
            raise UserError(f"--cotracker_ckpt {chosen}: there is no such file: {REMEDY}.")
        require_file(chosen, "checkpoint of CoTracker")
        return chosen
    found = [folder / name for name in CHECKPOINT_NAMES if (folder / name).is_file()]
    if not found:
        raise UserError(f"no CoTracker checkpoint in {folder}: {REMEDY}.")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(
            f"{folder} holds several checkpoints ({names}): choose by --cotracker_ckpt."
        )
    return found[0]


class CoTracker:
    """CoTracker 2 (Karaev et al., ECCV 2024) or the offline CoTracker 3 (Karaev et al., 2024)."""

    def __init__(self, checkpoint: Path, grid_size: int, device: str) -> None:
        """Load a checkpoint into CoTracker's own predictor.

        Args:
            checkpoint: `cotracker2.pth`, `scaled_offline.pth` or `baseline_offline.pth`.
            grid_size: Points per side.
            device: Where to compute.

        Raises:
            UserError: The checkpoint is not one of a known CoTracker.
        """
        self.grid_size, self.device = grid_size, device
        weights = _read_weights(checkpoint)
        version = _version(weights, checkpoint)
        self.name = f"cotracker{version} ({checkpoint.name})"
        self.predictor = _make_predictor(version, weights["time_emb"].shape[1])
        try:
            self.predictor.model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{checkpoint} does not fit the installed CoTracker "
                f"({str(error).splitlines()[0]}): {REMEDY}."
            ) from error
        self.predictor.to(device).eval()

    @torch.no_grad()
    def track(self, frames: Frames) -> Tracks:
        """Follow a grid of points of the first frame through a video, uint8 (F, H, W, 3)."""
        video = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float()  # (1, F, 3, H, W)
        points, visible = self.predictor(video.to(self.device), grid_size=self.grid_size)
        # (1, F, N, 2) and (1, F, N)
        return Tracks(points[0].transpose(0, 1).double().cpu(), visible[0].T.cpu())


def _read_weights(checkpoint: Path) -> dict[str, Any]:
    from pickle import UnpicklingError

    try:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{checkpoint} cannot be read as a checkpoint: {REMEDY}.") from error
    weights = weights.get("model", weights) if isinstance(weights, dict) else {}
    if "time_emb" not in weights:
        raise UserError(f"{checkpoint} is not a checkpoint of CoTracker 2 or 3: {REMEDY}.")
    return weights


def _version(weights: dict[str, Any], checkpoint: Path) -> int:
    if any(name.startswith("track_feat_updater.") for name in weights):
        return 2
    online_window = 16
    if weights["time_emb"].shape[1] <= online_window:
        raise UserError(f"{checkpoint} is an online CoTracker 3; the offline one is needed.")
    return 3


def _make_predictor(version: int, window_len: int) -> Any:
    from cotracker.predictor import CoTrackerPredictor

    both_versions = "v2" in inspect.signature(CoTrackerPredictor).parameters
    if both_versions:
        return CoTrackerPredictor(
            checkpoint=None, v2=version == 2, offline=True, window_len=window_len
        )
    if version == 3:
        raise UserError(f"the installed CoTracker is version 2, the checkpoint 3: `{INSTALL}`.")
    return CoTrackerPredictor(checkpoint=None)
