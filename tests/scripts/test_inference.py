"""inference.py: the preview again, seeds and names, the LoRA gate, published runs."""

import errno
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import run_script, train_in_process, write_config
from processes import launch
from safetensors.torch import load_file
from small_models import write_tiny_base

import inference
import motionmatcher.generation.generate as generation
from motionmatcher.bases.lora import target_modules
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.clips.video import probe, read_video
from motionmatcher.files import unused_path
from motionmatcher.runs.manifest import read_manifest
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_tensors, write_tensors

PROMPT = "A circle moves."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    # A high learning rate, so that the LoRA visibly does something.
    values = {**quick_values, "output_dir": str(folder), "learning_rate": 0.1}
    return train_in_process(write_config(folder / "config.yaml", values))


@pytest.fixture
def infer(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Path]]:
    """Run inference.py on the trained run; gives the videos it names, in order."""

    def call(*arguments: Any, run: Path = trained.folder, prompt: str = PROMPT) -> list[Path]:
        results = tmp_path / "results.json"
        given = ["--checkpoint_folder", run, "--device", "cpu", "--json", results]
        given += ["--prompt", prompt] if prompt else []
        given += [] if "-o" in arguments else ["-o", tmp_path / "out"]
        assert run_script(monkeypatch, inference.main, *given, *arguments) == 0
        content = json.loads(results.read_text())
        return [Path(content["output_dir"]) / video["file"] for video in content["videos"]]

    return call


def test_gives_the_preview_again_to_the_bit(trained: Run, infer: Callable) -> None:
    (video,) = infer("-rn", 1)
    preview = next(trained.samples_folder.glob("step-00004_a-circle-moves_0.mp4"))
    assert video.read_bytes() == preview.read_bytes()
    (untrained,) = infer("-rn", 1, "--lora_scale", 0)
    step_0 = next(trained.samples_folder.glob("step-00000_a-circle-moves_0.mp4"))
    assert untrained.read_bytes() == step_0.read_bytes()
    assert untrained.read_bytes() != video.read_bytes()


def test_inversion_is_not_made_again(infer: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "motionmatcher.clips.reference.invert_reference", lambda *_: pytest.fail("inverted")
    )
    infer("-rn", 1)


def test_seeds_names_and_manifest(infer: Callable, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("../../etc/passwd \n\nA circle moves.\n", encoding="utf-8")
    settings = ["--prompts", prompts, "-rn", 2, "-r", 7, "-B", 3, "-np", 0, "-s", 2, "-f", 5]
    videos = infer(*settings, "--gif", "-T", 3, "-W", 48, "-n", "blurry")
    assert [video.name for video in videos] == [
        "a-circle-moves_7.mp4",
        "a-circle-moves_8.mp4",
        "etc-passwd_7.mp4",
        "etc-passwd_8.mp4",
    ]
    folder = tmp_path / "out"
    assert {video.parent for video in videos} == {folder}
    assert all(video.with_suffix(".gif").is_file() for video in videos)
    assert (folder / "contact_sheet.png").is_file()
    info = probe(videos[0])
    assert (info.num_frames, info.width, info.height, info.fps) == (3, 48, 32, 5)

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert [entry["file"] for entry in manifest["videos"]] == [video.name for video in videos]
    entry = manifest["videos"][2]
    assert (entry["prompt"], entry["seed"]) == ("../../etc/passwd", 7)
    assert entry["negative_prompt"] == "blurry"
    assert entry["settings"]["noise_prior"] == 0
    assert entry["settings"]["num_inference_steps"] == 2
    assert entry["checkpoint"].endswith("checkpoint-4")


def test_what_is_lost_of_prompts_is_said(
    infer: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "a b " * 40
    (video,) = infer("-rn", 1, "-s", 2, "-p", long, "-n", long + "end", prompt=long)
    assert video.name.startswith("a-b-a-b")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 3
    assert notes[0].endswith("is given 2 times: its videos are made once.")
    assert notes[1].endswith('left out: "b a b a b"')
    assert notes[2].endswith('left out: "b a b a b end"')


def test_a_gif_is_no_faster_than_players_are(
    infer: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = "-rn", 1, "-s", 1, "-np", 0, "--gif"
    infer(*settings, "-f", 50)
    assert "no GIF plays faster" not in capsys.readouterr().out
    (video,) = infer(*settings, "-f", 60)
    note = "note: no GIF plays faster than 50 fps: 60 is for the mp4 alone.\n"
    assert note in capsys.readouterr().out
    assert (probe(video).fps, probe(video.with_suffix(".gif")).fps) == (60, 50)


def test_nothing_is_overwritten(infer: Callable, tmp_path: Path) -> None:
    first = infer("-rn", 1, "-s", 2, "-np", 0)
    content = first[0].read_bytes()
    second = infer("-rn", 1, "-s", 2, "-np", 0, "-r", 0, "-ls", 3)
    assert [path.name for path in second] == ["a-circle-moves_0-2.mp4"]
    assert first[0].read_bytes() == content != second[0].read_bytes()
    assert len(json.loads((tmp_path / "out/manifest.json").read_text())["videos"]) == 2
    assert (tmp_path / "out/contact_sheet-2.png").is_file()


def test_batch_size_changes_no_noise(infer: Callable) -> None:
    alone = infer("-rn", 2, "-s", 2)
    together = infer("-rn", 2, "-s", 2, "-B", 2)
    for one, other in zip(alone, together, strict=True):
        difference = read_video(one)[0].astype(int) - read_video(other)[0]
        assert abs(difference).mean() < 1


def test_lora_is_merged_down_to_min_timestep_only(
    infer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {}
    original = MotionUNet.predict

    def predict(
        self: MotionUNet, latents: torch.Tensor, timestep: int, states: torch.Tensor
    ) -> Any:
        layers = self.lora_layers()
        assert all(layer.disable_adapters for layer in layers), "merged, it costs nothing a step"
        assert len(latents) == 2, "guidance runs in one batch"
        weight, lora = layers[5].get_base_layer().weight, layers[5].get_delta_weight("default")
        base_weights.append(weight.clone())
        shares[timestep] = float((weight - base_weights[0]).norm() / lora.norm())
        return original(self, latents, timestep, states)

    base_weights: list[torch.Tensor] = []
    monkeypatch.setattr(MotionUNet, "predict", predict)
    infer("-rn", 1, "-s", 5, "-np", 0, "-mn", 401, "-ls", 0.5)
    # Against the first step's weight, which has half the LoRA in it.
    assert list(shares) == [801, 601, 401, 201, 1]
    assert shares[601] == shares[401] == 0
    assert shares[201] == pytest.approx(0.5, rel=1e-4)
    assert torch.equal(base_weights[-1], base_weights[-2])


def test_another_number_of_steps_inverts_anew_without_the_clip(
    trained: Run, infer: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    monkeypatch.setattr(
        "motionmatcher.clips.reference.read_clip", lambda *_: pytest.fail("read the clip")
    )
    before = set((run / "cached_latents").iterdir())
    infer("-rn", 1, "-s", 3, run=run)
    (made,) = set((run / "cached_latents").iterdir()) - before
    assert made.name.startswith("inversion-")


def test_a_published_run(infer: Callable, trained: Run, tiny_base: Path, tmp_path: Path) -> None:
    weights = load_file(trained.checkpoint_folder(4) / "lora" / "pytorch_lora_weights.safetensors")
    modules = target_modules(MotionUNet.from_pretrained(tiny_base / "unet"), ["attention"])
    published = [
        torch.nn.Parameter(weights[f"{module}.lora_{kind}.weight"])
        for module in modules
        for kind in "BA"
    ]
    run = tmp_path / "published"
    (run / "checkpoint-4" / "lora").mkdir(parents=True)
    torch.save(published, run / "checkpoint-4" / "lora" / "4_unet.pt")
    (run / "cached_latents").mkdir()
    latents = load_file(next(trained.reference_folder.glob("latents-*")))["latents"][0]
    content = {"latents": latents, "text_prompt": "A square moves."}
    torch.save(content, run / "cached_latents" / "cached_0.pt")

    known = ["-m", tiny_base, "-W", 32, "-H", 32, "-T", 4, "-s", 4, "-rn", 1, "-lr", 2]
    (video,) = infer(*known, "--mixed_precision", "no", run=run)
    preview = next(trained.samples_folder.glob("step-00004_a-circle-moves_0.mp4"))
    assert video.read_bytes() == preview.read_bytes()


def test_a_read_only_run_is_used_without_caching(
    trained: Run,
    infer: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    (expected,) = infer("-rn", 1, "-s", 3, "-o", tmp_path / "cached")
    run, original = tmp_path / "run", tempfile.mkstemp
    shutil.copytree(trained.folder, run)
    for noise in (run / "cached_latents").glob("inversion-*"):
        noise.unlink()
    before = sorted(run.rglob("*"))

    def refuse(dir: Path, **options: Any) -> Any:
        if run in dir.parents:  # root may write anywhere
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))
        return original(dir=dir, **options)

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    (video,) = infer("-rn", 1, "-s", 3, run=run)
    assert video.read_bytes() == expected.read_bytes()
    assert "note: the reference's inversion will have to be made again" in capsys.readouterr().out
    assert sorted(run.rglob("*")) == before


def test_an_output_folder_that_turns_read_only(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder, original = tmp_path / "out", tempfile.mkstemp

    def refuse(**options: Any) -> Any:
        if "circle-moves_1" in options["prefix"]:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
        return original(**options)

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    given = ["-cf", trained.folder, "-p", PROMPT, "-d", "cpu", "-o", folder, "-rn", 3, "-s", 2]
    assert run_script(monkeypatch, inference.main, *given) == 2
    refused = folder / "a-circle-moves_1.mp4"
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(f"error: {refused} cannot be written: Read-only file system.")
    )
    assert [entry["file"] for entry in read_manifest(folder)] == ["a-circle-moves_0.mp4"]
    assert [path.name for path in folder.glob("*.mp4")] == ["a-circle-moves_0.mp4"]


def test_contact_sheets_written_at_once_are_both_kept(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_choice(path: Path) -> Path:
        chosen = unused_path(path)
        time.sleep(0.1)
        return chosen

    monkeypatch.setattr(generation, "unused_path", slow_choice)
    flags = ["-cf", trained.folder, "-p", PROMPT, "-o", tmp_path]
    monkeypatch.setattr(sys, "argv", ["inference.py", *map(str, flags)])
    request = inference.request_of(inference.parse_arguments())
    (video,) = trained.samples_folder.glob("step-00004_*.mp4")
    entry = {"file": str(video), "seed": 0, "prompt": PROMPT}
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: generation._write_contact_sheet(request, [entry]), range(2)))
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "contact_sheet-2.png",
        "contact_sheet.png",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff{}", "is not UTF-8"),
        (b"{", "is not valid JSON"),
        (b'{"format": 1, "videos": [{"seed": NaN}]}', "NaN is not JSON"),
        (b'{"format": 1, "videos": [{"prompt": "\\ud800"}]}', "is not valid JSON"),
        (b"[" * 100_000, "is nested deeper than 32 levels. Move it away"),
        (b'{"format": 1, "videos": [' + b"[" * 40 + b"]" * 40 + b"]}", "nested deeper than 32 levels"),
        (b"[]", "has no list 'videos'"),
        (b'{"format": 1, "videos": 3}', "has no list 'videos'"),
        (b'{"format": 1, "videos": "clip.mp4"}', "has no list 'videos'"),
        (b'{"format": 1, "videos": {"a": 1}}', "has no list 'videos'"),
        (b'{"format": 1, "videos": ["clip.mp4"]}', r"videos[0] is not an object"),
        (b'{"format": 2, "videos": []}', "has format 2; format 1 is understood"),
        ("folder", "manifest.json is a folder; expected a file of text. Move it away"),
        ("fifo", "manifest.json is no regular file; expected a file of text. Move it away"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_known_before_the_first_video(
    trained: Run,
    content: bytes | str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    file = tmp_path / "manifest.json"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    monkeypatch.setattr(generation, "load_base_model", lambda *_: pytest.fail("read weights"))
    given = ["-cf", trained.folder, "-p", PROMPT, "-o", tmp_path]
    assert run_script(monkeypatch, inference.main, *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == [file]
    assert not isinstance(content, bytes) or file.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "/proc/out"], "--output_dir /proc/out cannot be written: No such file"),
        (["-cf", "n" * 300], "n cannot be opened: File name too long."),
        (["--prompts", "n" * 300], "n cannot be read: File name too long."),
        (["--json", "tests"], "argument --json: tests cannot be written: Is a directory"),
        (["-ci", "3"], "has no checkpoint-3; there are: 2, 4."),
        (["-cf", "gone"], "gone: there is no such run folder"),
        (["-np", "1.5"], "--noise_prior must be at most 1, not 1.5"),
        (["-W", "36"], "width 36 must be a multiple of 8 pixels"),
        (["-H", "0"], "--height must be at least 8, not 0"),
        (["-s", "1000"], "--num-steps must be at most 999 for this base's schedule, not 1000"),
        (["--prompts", "gone.txt"], "--prompts gone.txt: there is no such file"),
        (["-lr", "5"], "lora_rank 5: the checkpoint's LoRA has rank 2"),
        (["-m", "models/gone/"], "models/gone/: there is no such base model folder"),
        (["-rn", "0"], "--repeat_num must be at least 1, not 0"),
        (["--guidance_scale", "3"], "unknown flag --guidance_scale. Did you mean '--guidance-scale'?"),
    ],
)  # fmt: skip
def test_bad_input(
    trained: Run,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    given = ["-cf", trained.folder, "-p", PROMPT, "-d", "cpu", "-o", tmp_path / "out", *arguments]
    assert run_script(monkeypatch, inference.main, *given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_video_that_explodes_is_not_written(
    trained: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    given = ["-cf", trained.folder, "-p", PROMPT, "-d", "cpu", "-o", tmp_path / "out", "-rn", 1]
    overflow = torch.finfo(torch.float32).max  # whatever range the flags may have
    monkeypatch.setattr(MotionUNet, "predict", lambda base, latents, *_: latents * overflow)
    assert run_script(monkeypatch, inference.main, *given) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: NaN or infinity in the generated latents: lower guidance_scale")
    assert not (tmp_path / "out").exists()


def test_a_lora_that_is_not_finite(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(trained.folder, tmp_path / "run")
    file = run / "checkpoint-4" / "lora" / "pytorch_lora_weights.safetensors"
    tensors, description = read_tensors(file)
    name = min(tensors)
    write_tensors(file, {**tensors, name: tensors[name] * torch.nan}, description)
    given = ["-p", PROMPT, "-d", "cpu", "-o", tmp_path / "out", "-rn", 1]
    assert run_script(monkeypatch, inference.main, "-cf", run / "checkpoint-4", *given) == 2
    assert f"error: {file}: {name} holds NaN or infinity" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_lora_of_another_base_is_noted(
    trained: Run, infer: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = write_tiny_base(tmp_path / "other", seed=1)
    infer("-rn", 1, "-s", 2, "-np", 0, "-m", other)
    note = f"note: the LoRA of {trained.checkpoint_folder(4)} was trained on another base than this one."
    assert note in capsys.readouterr().out


def test_an_output_folder_that_is_a_file(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    given = ["-cf", trained.folder, "-p", PROMPT, "-o", tmp_path / "file" / "deeper"]
    assert run_script(monkeypatch, inference.main, *given) == 2
    assert f"{tmp_path / 'file'} is a file; choose another folder" in capsys.readouterr().err


def test_no_prompt(
    trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run_script(monkeypatch, inference.main, "-cf", trained.folder) == 2
    assert 'no prompt: give --prompt "…"' in capsys.readouterr().err


def test_two_processes_give_what_one_gives(trained: Run, infer: Callable, tmp_path: Path) -> None:
    alone = infer("-rn", 3, "-s", 2)
    both = tmp_path / "both"
    settings = ["-cf", trained.folder, "-p", PROMPT, "-d", "cpu", "-rn", 3, "-s", 2, "-o", both]
    settings += ["--json", tmp_path / "both.json"]
    launch(2, tmp_path, "inference", *settings)
    assert [(both / path.name).read_bytes() for path in alone] == [p.read_bytes() for p in alone]
    entries = json.loads((both / "manifest.json").read_text())["videos"]
    assert sorted(entry["seed"] for entry in entries) == [0, 1, 2]
    results = json.loads((tmp_path / "both.json").read_text())
    assert [video["seed"] for video in results["videos"]] == [0, 1, 2]
    assert [path.name for path in both.glob("*.png")] == ["contact_sheet.png"]
