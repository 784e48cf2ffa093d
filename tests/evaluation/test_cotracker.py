"""The loading of CoTracker checkpoints, with a stand-in for its predictor."""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from evaluation import cotracker
from evaluation.cotracker import CoTracker, find_checkpoint
from evaluation.trackers import load_tracker
from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError


class StandInNetwork(nn.Module):
    def __init__(self, v2: bool, window_len: int) -> None:
        super().__init__()
        self.register_buffer("time_emb", torch.zeros(1, window_len, 3))
        if v2:
            self.track_feat_updater = nn.Linear(2, 2)
        else:
            self.corr_mlp = nn.Linear(2, 2)


class StandInPredictor(nn.Module):
    """Has the published predictor's arguments and axes; every track goes right by its number."""

    def __init__(
        self, checkpoint: None, offline: bool = True, v2: bool = False, window_len: int = 60
    ) -> None:
        super().__init__()
        assert checkpoint is None
        assert offline
        self.v2 = v2
        self.model = StandInNetwork(v2, window_len)

    def forward(self, video: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
        assert video.dtype == torch.float32
        assert video.max() > 1  # pixels 0 to 255
        frames, tracks = video.shape[1], grid_size**2
        times = torch.arange(frames)[None, :, None, None]
        numbers = torch.arange(tracks)[None, None, :, None]
        points = (times * numbers * torch.tensor([1.0, 0.0])).expand(1, frames, tracks, 2)
        return points, (numbers[..., 0] > 0).expand(1, frames, tracks)


class Version2Predictor(StandInPredictor):
    """Of the repository before version 3: no choice of version."""

    def __init__(self, checkpoint: None) -> None:
        super().__init__(checkpoint, v2=True, window_len=8)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Install a stand-in package whose predictor is the given class."""

    def put(predictor: type) -> None:
        package, module = ModuleType("cotracker"), ModuleType("cotracker.predictor")
        package.__spec__ = module.__spec__ = ModuleSpec("c", None)
        vars(module)["CoTrackerPredictor"] = predictor
        monkeypatch.setitem(sys.modules, "cotracker", package)
        monkeypatch.setitem(sys.modules, "cotracker.predictor", module)

    return put


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Maker of checkpoint files."""

    def make(name: str, v2: bool, window_len: int, wrapped: bool = False) -> Path:
        weights = StandInNetwork(v2, window_len).state_dict()
        torch.save({"model": weights} if wrapped else weights, tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("name", "v2", "window_len", "wrapped", "expected"),
    [
        ("cotracker2.pth", True, 8, False, "cotracker2 (cotracker2.pth)"),
        ("scaled_offline.pth", False, 60, False, "cotracker3 (scaled_offline.pth)"),
        ("mine.pth", False, 60, True, "cotracker3 (mine.pth)"),
    ],
)
def test_version_is_read_from_the_checkpoint(
    install: Callable[[type], None],
    checkpoint: Callable[..., Path],
    noise_clip: Callable[..., Frames],
    name: str,
    v2: bool,
    window_len: int,
    wrapped: bool,
    expected: str,
) -> None:
    install(StandInPredictor)
    path = checkpoint(name, v2, window_len, wrapped)
    tracker = load_tracker("cotracker", 3, "cpu", path, path.parent)
    assert tracker.name == expected
    assert isinstance(tracker, CoTracker)
    assert tracker.predictor.v2 == v2
    tracks = tracker.track(noise_clip(num_frames=5))
    assert tracks.points.shape == (9, 5, 2)
    assert tracks.points[4].tolist() == [[0, 0], [4, 0], [8, 0], [12, 0], [16, 0]]
    assert tracks.visible[:, 0].tolist() == [False] + [True] * 8


def test_a_repository_of_version_2_takes_its_own_checkpoint_only(
    install: Callable[[type], None], checkpoint: Callable[..., Path]
) -> None:
    install(Version2Predictor)
    tracker = CoTracker(checkpoint("cotracker2.pth", True, 8), 3, "cpu")
    assert tracker.name.startswith("cotracker2")
    with pytest.raises(UserError, match="the installed CoTracker is version 2"):
        CoTracker(checkpoint("scaled_offline.pth", False, 60), 3, "cpu")


def test_checkpoints_that_cannot_be_used(
    install: Callable[[type], None], checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    install(StandInPredictor)
    with pytest.raises(UserError, match="is an online CoTracker 3"):
        CoTracker(checkpoint("scaled_online.pth", False, 16), 3, "cpu")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="is not a checkpoint of CoTracker 2 or 3"):
        CoTracker(tmp_path / "other.pth", 3, "cpu")
    (tmp_path / "broken.pth").write_text("no checkpoint")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        CoTracker(tmp_path / "broken.pth", 3, "cpu")
    weights = StandInNetwork(False, 60).state_dict() | {"extra": torch.zeros(1)}
    torch.save(weights, tmp_path / "extra.pth")
    with pytest.raises(UserError, match="does not fit the installed CoTracker"):
        CoTracker(tmp_path / "extra.pth", 3, "cpu")


def test_a_missing_package_is_one_line_with_both_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cotracker", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        load_tracker("cotracker", 3, "cpu", None, tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for part in ("not installed", cotracker.INSTALL, cotracker.DOWNLOAD, "--tracker flow"):
        assert part in message


def test_the_checkpoint_is_looked_for(
    install: Callable[[type], None], checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    install(StandInPredictor)
    with pytest.raises(UserError, match=r"no CoTracker checkpoint in .*hf download"):
        find_checkpoint(None, tmp_path)
    with pytest.raises(UserError, match="there is no such file"):
        find_checkpoint(tmp_path / "no.pth", tmp_path)
    one = checkpoint("scaled_offline.pth", False, 60)
    assert find_checkpoint(None, tmp_path) == one
    other = checkpoint("cotracker2.pth", True, 8)
    with pytest.raises(UserError, match="several checkpoints"):
        find_checkpoint(None, tmp_path)
    assert find_checkpoint(other, tmp_path) == other
