"""A tracker is chosen by name, and not for more tracks than can be compared."""

from pathlib import Path

import pytest
import torch

from evaluation.trackers import load_tracker
from motionmatcher import devices
from motionmatcher.errors import UserError
from motionmatcher.tracking.flow_tracker import FlowTracker


def test_as_many_tracks_as_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # All pairs of 100 x 100 tracks, 8 bytes each, four times.
    needed = 4 * 8 * 100**4
    monkeypatch.setattr(devices, "available_bytes", lambda device: needed)
    assert isinstance(load_tracker("flow", 100, "cpu", None, tmp_path), FlowTracker)
    monkeypatch.setattr(devices, "available_bytes", lambda device: needed - 1)
    message = (
        "^--grid_size 100: comparing all pairs of 10,000 tracks takes 2.98 GiB, and 2.98 GiB are free: "
        "take 99 or less"
    )
    for name in ("flow", "cotracker"):
        with pytest.raises(UserError, match=message):
            load_tracker(name, 100, "cpu", None, tmp_path)
    assert devices.available_bytes(torch.device("cpu")) > 0
