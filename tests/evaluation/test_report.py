"""The report page's contents, without a browser."""

import base64
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation import __main__ as command
from evaluation.report import json_for_html
from evaluation.report_data import (
    clip_data_uri,
    motion_data,
    object_displacement,
    thinned,
)
from motionmatcher.clips.video import Frames, read_video, write_mp4
from motionmatcher.tracking.camera import CameraPath, MotionAnalysis
from motionmatcher.tracking.tracks import Tracks, point_grid

HOSTILE = "</script><img src=x onerror=alert(1)> & \"quoted\" 'so' <b>bold</b>"


class Elements(HTMLParser):
    """Collects a page's elements and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def report(
    video_folder: Path,
    clip_folder: Path,
    tmp_path: Path,
    noise_clip: Callable[..., Frames],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A page over two folders, one with a hostile manifest and a broken file; its text."""
    manifest_path = video_folder / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["videos"][0]["prompt"] = HOSTILE
    manifest["videos"][0]["settings"] = {HOSTILE: HOSTILE}
    manifest_path.write_text(json.dumps(manifest))
    other = tmp_path / "<i>other"
    write_mp4(other / "clip-1.mp4", noise_clip(seed=7), fps=8)
    write_mp4(other / "clip-2.mp4", noise_clip(seed=8), fps=8)
    entries = [
        {**manifest["videos"][1], "file": f"clip-{index}.mp4", "prompt": "a fox"}
        for index in (1, 2)
    ]
    (other / "manifest.json").write_text(json.dumps({"format": 1, "videos": entries}))
    (other / "broken.mp4").write_text("no video")
    page = tmp_path / "page" / "report.html"
    arguments = ["--source_video", video_folder / "clip-2.mp4", "--output_dir", video_folder, other]
    arguments += ["--clip_model", clip_folder, "--tracker", "flow", "--grid_size", 5]
    arguments += ["--report", page, "--json", tmp_path / "scores.json"]
    monkeypatch.setattr(sys, "argv", ["evaluation", *map(str, arguments)])
    assert command.main() == 1  # one file is broken
    return page.read_text(encoding="utf-8")


def test_texts_are_escaped_and_no_element_is_smuggled_in(report: str) -> None:
    page = Elements(report)
    assert page.text.count(HOSTILE) == 3  # prompt, a setting's name and its value
    names = [name for name, _ in page.elements]
    assert not {"img", "b", "i"} & set(names)
    assert names.count("script") == 2
    assert not [key for _, attributes in page.elements for key in attributes if key[:2] == "on"]


def test_the_page_needs_nothing_from_elsewhere(report: str) -> None:
    page = Elements(report)
    sources = [
        attributes[key]
        for _, attributes in page.elements
        for key in ("src", "href")
        if key in attributes
    ]
    assert all(source and source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"@import|url\(|fetch\(|https?://(?!www\.w3\.org/2000/svg)", report)
    assert len([name for name, _ in page.elements if name == "video"]) == 1 + 2 + 2


def test_the_page_shows_scores_controls_and_what_is_missing(report: str, tmp_path: Path) -> None:
    text = Elements(report).text
    scores = json.loads((tmp_path / "scores.json").read_text())
    for folder in scores["folders"]:
        assert f"{folder['mean']['clip_t']['mean']:.4f}" in text
        assert f"{folder['mean']['motion_discrepancy']['mean']:.5f}" in text
    for phrase in ("reference time-shuffled", "seed 10", "broken.mp4 cannot be read", "flow"):
        assert phrase in text
    assert any("ImageReward" in reason for reason in scores["left_out"])
    assert scores["left_out"][0] in text


def test_page_data_hold_the_comparison_and_every_motion(report: str) -> None:
    (found,) = re.findall(r'id="data">(.*?)</script>', report, re.DOTALL)
    data = json.loads(found)
    assert sorted(data["motions"]) == ["0-0", "0-1", "1-0", "1-1", "reference"]
    assert 20 <= len(data["motions"]["1-1"]["tracks"]) <= 25  # those of 5 x 5 points with texture
    assert len(data["motions"]["1-1"]["tracks"][0]["points"]) == data["frames"] == 4
    assert [row["name"] for row in data["comparison"]] == ["outputs", "<i>other"]


def test_json_cannot_end_its_element() -> None:
    text = json_for_html({"prompt": HOSTILE})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"prompt": HOSTILE}


@pytest.mark.parametrize(
    ("size", "shown"), [((32, 32), (192, 192)), ((48, 64), (144, 192)), ((450, 900), (224, 448))]
)
def test_clips_are_encoded_at_a_moderate_size_and_one_length(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, *size, 3), dtype=np.uint8)
    uri = clip_data_uri(frames, duration_s=1.5)
    path = tmp_path / "clip.mp4"
    path.write_bytes(base64.b64decode(uri.removeprefix("data:video/mp4;base64,")))
    decoded, fps = read_video(path)
    assert decoded.shape == (6, *shown, 3)
    assert len(decoded) / fps == pytest.approx(1.5)


@pytest.fixture
def analysis() -> MotionAnalysis:
    """Four tracks on 10 x 20 pixels; the camera pans by 2, one track moves by 3 more a frame."""
    start = torch.tensor([[4.5, 2.5], [14.5, 2.5], [4.5, 7.5], [14.5, 7.5]]).double()
    points = torch.stack([start + torch.tensor([2.0 * frame, 0]) for frame in range(3)], dim=1)
    points[3, :, 1] += torch.tensor([0.0, 3.0, 6.0])
    transforms = torch.eye(3).double().repeat(3, 1, 1)
    transforms[:, 0, 2] = torch.tensor([0.0, 2.0, 4.0])
    camera = CameraPath(transforms, width=20, height=10)
    moving = torch.tensor([False, False, False, True])
    tracks = Tracks(points, torch.ones(4, 3, dtype=torch.bool))
    return MotionAnalysis(tracks, camera, camera.stabilise(points), moving)


def test_motion_in_units_of_the_page(analysis: MotionAnalysis) -> None:
    data = motion_data(analysis)
    assert data["tracks"][0]["points"] == [[250, 300], [350, 300], [450, 300]]
    assert [track["moving"] for track in data["tracks"]] == [False, False, False, True]
    assert data["camera"]["pan"] == [[0, 0], [10, 0], [20, 0]]
    assert data["camera"]["zoom"] == [1, 1, 1]
    diagonal = 500**0.5
    assert data["objects"] == pytest.approx([0, 300 / diagonal, 600 / diagonal], abs=1e-3)


def test_object_displacement_counts_seen_tracks_only(analysis: MotionAnalysis) -> None:
    seen = analysis.tracks.visible.clone()
    seen[3, 2] = False
    hidden_at_end = replace(analysis, tracks=Tracks(analysis.tracks.points, seen))
    displacement = object_displacement(hidden_at_end, analysis.camera)
    assert displacement[2] == displacement[1] > 0
    nothing_moves = replace(analysis, moving=torch.zeros(4, dtype=torch.bool))
    assert object_displacement(nothing_moves, analysis.camera).tolist() == [0, 0, 0]


def test_tracks_that_are_drawn_start_evenly_spread() -> None:
    starts = point_grid(50, 100, 60)
    chosen = thinned(starts, 100, 60)
    assert len(chosen) == 14 * 14
    assert chosen[0] == 0
    corner = starts[:3]  # 2 pixels apart in cells of 7
    assert thinned(corner, 100, 60) == [0]
    assert thinned(starts[:0], 100, 60) == []
