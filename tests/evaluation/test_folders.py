"""Folders of videos and their manifests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluation.folders import natural_sort, open_folder, read_reference
from motionmatcher.clips.video import Frames, write_gif, write_mp4
from motionmatcher.errors import UserError


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def test_natural_sort() -> None:
    names = ["b.mp4", "clip-10.mp4", "clip-9.mp4", "2.mp4", "Clip-1.mp4", "10.mp4"]
    ordered = [path.name for path in natural_sort(map(Path, names))]
    assert ordered == ["2.mp4", "10.mp4", "b.mp4", "Clip-1.mp4", "clip-9.mp4", "clip-10.mp4"]


def test_prompts_seeds_and_settings_come_from_the_manifest(video_folder: Path) -> None:
    videos = open_folder(video_folder, needs_prompt=True).videos
    assert [video.path.name for video in videos] == ["clip-2.mp4", "clip-10.mp4"]
    assert [video.prompt for video in videos] == ["a bear, take 2", "a bear, take 10"]
    assert [video.seed for video in videos] == [2, 10]
    assert videos[0].settings == {"checkpoint": "checkpoint-400", "guidance_scale": 12.0}


def test_a_prompt_of_the_command_line_holds_for_all(video_folder: Path) -> None:
    videos = open_folder(video_folder, prompt="a fox").videos
    assert [video.prompt for video in videos] == ["a fox", "a fox"]
    assert videos[0].seed == 2


def test_any_container_is_listed_and_other_files_are_not(
    tmp_path: Path, noise_clip: Callable[..., Frames]
) -> None:
    write_gif(tmp_path / "a.GIF", noise_clip(), fps=8)
    write_mp4(tmp_path / "b.mov", noise_clip(), fps=8)
    (tmp_path / "._b.mov").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no video")
    assert [video.path.name for video in open_folder(tmp_path).videos] == ["a.GIF", "b.mov"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_videos_are_listed_apart(video_folder: Path, share: float) -> None:
    cut = video_folder / "clip-10.mp4"
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * share)])
    folder = open_folder(video_folder, prompt="a bear")
    assert [video.path.name for video in folder.videos] == ["clip-2.mp4"]
    assert [video.path.name for video in folder.unreadable] == ["clip-10.mp4"]


def test_a_gif_of_a_video_is_not_scored_beside_it(
    video_folder: Path, noise_clip: Callable[..., Frames]
) -> None:
    write_gif(video_folder / "clip-2.gif", noise_clip(), fps=8)
    assert [video.path.suffix for video in open_folder(video_folder).videos] == [".mp4", ".mp4"]


def test_files_that_do_not_open_are_listed_apart(video_folder: Path) -> None:
    (video_folder / "clip-3.mp4").write_text("no video")
    folder = open_folder(video_folder, prompt="a bear")
    assert len(folder.videos) == 2
    assert [video.path.name for video in folder.unreadable] == ["clip-3.mp4"]
    assert "cannot be read as a video" in folder.unreadable[0].reason


def test_what_is_no_folder_is_called_what_it_is(
    tmp_path: Path, noise_clip: Callable[..., Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mp4(tmp_path / "a.mp4", noise_clip(), fps=8)
    with pytest.raises(UserError, match=r"a\.mp4 is not a folder: give a folder of videos"):
        open_folder(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").mkdir()
    (unreadable,) = open_folder(tmp_path).unreadable
    assert unreadable.reason.endswith("b.mp4 is a folder: give a video file.")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read everything
    with pytest.raises(UserError, match="cannot be listed: Permission denied"):
        open_folder(tmp_path)


def test_a_variable_frame_rate_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("L", (32, 32), 40 * index) for index in range(4)]
    video = tmp_path / "a.gif"
    frames[0].save(video, save_all=True, append_images=frames[1:], duration=[100, 100, 300, 100])
    note = "its frame rate varies: 6 frames are taken at even steps (10 fps) from the 4 in the file"
    assert open_folder(tmp_path).videos[0].notes == (note,)
    reference = read_reference(video)
    assert (len(reference.frames), reference.fps) == (6, 10)
    assert capsys.readouterr().out == f"note: {video}: {note}.\n"


def test_a_video_of_one_frame_is_listed_apart_whether_it_has_a_prompt_or_not(
    video_folder: Path, noise_clip: Callable[..., Frames]
) -> None:
    write_mp4(video_folder / "clip-3.mp4", noise_clip(num_frames=1), fps=8)
    folder = open_folder(video_folder, needs_prompt=True)
    assert [video.path.name for video in folder.videos] == ["clip-2.mp4", "clip-10.mp4"]
    (apart,) = folder.unreadable
    assert apart.path.name == "clip-3.mp4"
    assert "has one frame only" in apart.reason


def test_errors_of_the_folder(tmp_path: Path, noise_clip: Callable[..., Frames]) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no videos"):
        open_folder(tmp_path)
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(
        UserError, match=r"none of its 1 videos can be scored: .*a\.mp4 cannot be read"
    ):
        open_folder(tmp_path)
    write_mp4(tmp_path / "b.mp4", noise_clip(num_frames=1), fps=8)
    with pytest.raises(UserError, match="none of its 2 videos can be scored"):
        open_folder(tmp_path)
    with pytest.raises(UserError, match=r"b\.mp4 has one frame only"):
        read_reference(tmp_path / "b.mp4")


def test_errors_of_the_prompt(video_folder: Path) -> None:
    with pytest.raises(UserError, match="--prompt is empty"):
        open_folder(video_folder, prompt=" ")
    edit_manifest(video_folder, lambda manifest: manifest["videos"].pop())
    with pytest.raises(UserError, match=r"clip-10\.mp4 has no prompt: give --prompt"):
        open_folder(video_folder, needs_prompt=True)
    assert open_folder(video_folder).videos[1].prompt is None


@pytest.mark.parametrize("key", ["file", "prompt", "negative_prompt", "seed", "checkpoint"])
def test_a_manifest_entry_without_a_key(video_folder: Path, key: str) -> None:
    edit_manifest(video_folder, lambda manifest: manifest["videos"][1].pop(key))
    with pytest.raises(UserError, match=rf"manifest\.json: videos\[1\] has no '{key}'"):
        open_folder(video_folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda manifest: manifest["videos"][0].update(prompt=""), "the prompt is empty"),
        (lambda manifest: manifest["videos"][0].update(seed="7"), "'seed' is not an integer"),
        (lambda manifest: manifest["videos"][0].update(settings=[]), "'settings' is not an object"),
        (lambda manifest: manifest["videos"][0].update(file=3), "'file' is not a file name"),
        (lambda manifest: manifest["videos"].append("clip"), r"videos\[2\] is not an object"),
        (lambda manifest: manifest.update(format=2), "has format 2; format 1 is understood"),
        (lambda manifest: manifest.pop("videos"), "has no list 'videos'"),
    ],
)
def test_other_faults_of_the_manifest(
    video_folder: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit_manifest(video_folder, edit)
    with pytest.raises(UserError, match=message):
        open_folder(video_folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"videos": \xff}', "is not UTF-8"),
        (b'{"videos": ', "is not valid JSON: Expecting value"),
        (50_000 * b'{"videos":', "is nested deeper than 32 levels"),
        (rb'{"videos": ["\ud800"]}', "is not valid JSON: it has half a character"),
    ],
)
def test_a_manifest_that_is_not_json(video_folder: Path, content: bytes, message: str) -> None:
    (video_folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"manifest.json {message}"):
        open_folder(video_folder)
