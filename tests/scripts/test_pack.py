"""python -m motionmatcher.pack: what a pack holds, videos made with it, by diffusers too, its card."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from launching import PROJECT, run_script
from PIL import Image

import inference
from motionmatcher import generate, open_pack, write_pack
from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import (
    ADAPTER_FILE,
    COMFYUI_FILE,
    LoraInfo,
    add_lora,
    load_lora,
    save_lora,
)
from motionmatcher.config.loading import (
    load_settings,
    parse_settings,
    with_preview_defaults,
    write_settings,
)
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.pack import main
from motionmatcher.packing import writing
from motionmatcher.packing.scores import read_scores
from motionmatcher.runs.choice import Choice, write_choice
from motionmatcher.runs.pack_folder import CARD_FILE, NOISE_FILE, PACK_FILE, SHEET_FILE
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_tensors
from testbed.random_base import write_random_wan

PROMPT = "A circle moves."
CPU = torch.device("cpu")
BARE = {CARD_FILE, PACK_FILE, ADAPTER_FILE}
Packer = Callable[..., Path]


def make_run(folder: Path, values: dict[str, Any]) -> Run:
    """A run whose LoRA is not zero, without a training."""
    settings = with_preview_defaults(parse_settings(TrainSettings, values, "test"))
    layout = find_base(settings.pretrained_model_path)
    base = load_base_model(layout, CPU)
    add_lora(base.denoiser, settings.lora_rank, settings.lora_targets)
    generator = torch.Generator().manual_seed(1)
    for weight in base.denoiser.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    run = Run(folder / "train_x")
    info = LoraInfo(settings.lora_rank, tuple(settings.lora_targets), base.fingerprint)
    for step in (2, 4):
        save_lora(base.denoiser, run.checkpoint_folder(step) / "lora", info)
    write_settings(run.config_file, settings)
    return run


@pytest.fixture(scope="module")
def unet_run(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> Run:
    return make_run(tmp_path_factory.mktemp("unet"), quick_values)


@pytest.fixture(scope="module")
def wan_run(tmp_path_factory: pytest.TempPathFactory, run_values: dict[str, Any]) -> Run:
    folder = tmp_path_factory.mktemp("wan")
    values = {
        **run_values,
        "pretrained_model_path": str(write_random_wan(folder / "base")),
        "train_data": {**run_values["train_data"], "n_sample_frames": 5},
    }
    return make_run(folder, values)


@pytest.fixture(params=["unet", "wan"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(f"{request.param}_run")
    return found


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packer:
    """Pack a run by the command; gives the folder that it names."""

    def call(run: Run, *flags: object, folder: str = "pack") -> Path:
        given = [run.folder, "-o", tmp_path / folder, "-d", "cpu", *flags]
        assert run_script(monkeypatch, main, *given) == 0
        return tmp_path / folder

    return call


@pytest.fixture
def refuse(
    unet_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., str]:
    """Let the command refuse what it is given, and give its line."""

    def call(*flags: object, run: Path = unet_run.folder) -> str:
        capsys.readouterr()
        monkeypatch.setattr(writing, "atomic_folder", lambda *_: pytest.fail("wrote a pack"))
        assert run_script(monkeypatch, main, run, "-d", "cpu", *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return str(line)

    return call


def videos_of(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: object) -> list[bytes]:
    """The files that inference.py makes."""
    given = ["-p", PROMPT, "-rn", 2, "-d", "cpu", "-o", folder]
    assert run_script(monkeypatch, inference.main, *given, *flags) == 0
    return [path.read_bytes() for path in sorted(folder.glob("*.mp4"))]


def test_a_pack_makes_the_run_s_videos_without_the_run_or_its_clip(
    run: Run, pack: Packer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = videos_of(monkeypatch, tmp_path / "ours", "-cf", run.folder)
    folder = pack(run, "--with-inversion-noise")
    monkeypatch.setattr(Run, "open", lambda *_: pytest.fail("opened the run"))
    monkeypatch.setattr(
        "motionmatcher.clips.reference.read_clip", lambda *_: pytest.fail("read the clip")
    )
    base = load_settings(run.config_file).pretrained_model_path
    theirs = videos_of(monkeypatch, tmp_path / "theirs", "--pack", folder, "--model", base)
    assert len(ours) == 2
    assert theirs == ours
    without = videos_of(
        monkeypatch, tmp_path / "base", "--pack", folder, "-m", base, "--lora_scale", 0
    )
    assert without != ours, "the LoRA does something"


def test_nothing_of_the_clip_unless_asked(
    run: Run,
    pack: Packer,
    clip_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    assert load_settings(run.config_file).validation_data.noise_prior == 0.3
    folder = pack(run)
    note = "note: the noise prior of 0.3 needs the clip's inversion noise, of which the clip can be made"
    assert note in capsys.readouterr().out
    comfyui = {COMFYUI_FILE} if run.folder.parent.name.startswith("wan") else set()
    assert {path.name for path in folder.iterdir()} == BARE | comfyui | {SHEET_FILE}
    for path in folder.iterdir():
        assert str(clip_path).encode() not in path.read_bytes()
        assert str(run.folder).encode() not in path.read_bytes()
    card = (folder / CARD_FILE).read_text()
    assert "No inversion noise" in card
    assert "None of its frames." in card
    base = load_settings(run.config_file).pretrained_model_path
    ours = videos_of(monkeypatch, tmp_path / "ours", "-cf", run.folder, "-np", 0)
    assert videos_of(monkeypatch, tmp_path / "theirs", "--pack", folder, "-m", base) == ours


def test_the_sheet_shows_the_clip_only_when_asked(unet_run: Run, pack: Packer) -> None:
    bare = pack(unet_run, "-p", PROMPT)
    asked = pack(unet_run, "-p", PROMPT, "--with-preview", folder="asked")
    with Image.open(bare / SHEET_FILE) as one, Image.open(asked / SHEET_FILE) as two:
        assert two.height == 2 * one.height
        lower = two.crop((0, one.height, two.width, two.height))
        assert lower.tobytes() == one.tobytes()
    assert "The first row of the contact sheet is the clip." in (asked / CARD_FILE).read_text()


@pytest.mark.parametrize("kind", ["unet", "wan"])
def test_diffusers_alone_computes_the_same(
    kind: str,
    run_values: dict[str, Any],
    pack: Packer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The program on the card, word by word but for where things are."""
    run: Run = (
        make_run(tmp_path / "unet", run_values)  # with the layers of every level
        if kind == "unet"
        else request.getfixturevalue("wan_run")
    )
    folder = pack(run, "--no-sheet")
    base_folder = Path(load_settings(run.config_file).pretrained_model_path)
    (program,) = re.findall(r"```python\n(.*?)```", (folder / CARD_FILE).read_text(), re.DOTALL)
    program = program.replace('"packs/PACK"', repr(str(folder)))
    program = program.replace(f'"{base_folder.name}"', repr(str(base_folder)))
    names: dict[str, Any] = {}
    exec(program, names)
    pipeline, video = names["pipeline"], names["video"]
    assert len(video) == (4 if kind == "unet" else 5)
    base = load_base_model(find_base(str(base_folder)), CPU)
    inputs = _inputs(base)
    with torch.no_grad():
        bare = base.denoiser.predict(*inputs)
        load_lora(base.denoiser, folder)
        ours = base.denoiser.predict(*inputs)
    network = pipeline.unet if kind == "unet" else pipeline.transformer
    bare_network = base.denoiser
    latents, timestep, states = inputs
    at = torch.tensor([timestep])
    with torch.no_grad():
        theirs = network.to(torch.float32).eval()(latents, at, states).sample
    assert type(network) is not type(bare_network), "it is diffusers' own"
    assert (ours - bare).abs().max() > 0.01
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def _inputs(base: BaseModel) -> tuple[torch.Tensor, float, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    channels = base.denoiser.config["in_channels"]
    latents = torch.randn(1, channels, 3, 4, 4, generator=generator)
    return latents, 700.0, torch.randn(1, 7, 32, generator=generator)


def test_the_card(unet_run: Run, pack: Packer, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps(SCORES))
    flags = ["--license", "cc-by-nc-4.0", "--clip_license", "Mine | CC0.", "--scores", scores]
    folder = pack(unet_run, "--base_model", "someone/base", "-ci", 2, "--no-sheet", *flags)
    card = (folder / CARD_FILE).read_text()
    _, metadata, text = card.split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "base_model": "someone/base",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "license": "cc-by-nc-4.0",
        "pipeline_tag": "text-to-video",
        "tags": ["motionmatcher", "lora", "text-to-video", "motion-transfer"],
    }
    assert '# The motion of "A square moves."' in text
    assert "| training | 2 steps, objective feature_matching |" in text
    assert "| Path (not to be trusted on this clip) | lower | 7.7 [6, 9.5], n = 8 |" in text
    assert "| CLIP-T | higher | 0.2871, n = 1 |" in text
    assert "- This LoRA: cc-by-nc-4.0\n" in text
    assert "its source and licence: Mine | CC0." in text
    assert SHEET_FILE not in text
    assert json.loads((folder / PACK_FILE).read_text())["checkpoint"] == 2
    assert open_pack(folder).settings().pretrained_model_path == "someone/base"


def test_what_is_left_to_fill_in(
    unet_run: Run, pack: Packer, capsys: pytest.CaptureFixture
) -> None:
    folder = pack(unet_run, "--no-sheet")
    lines = capsys.readouterr().out.splitlines()
    base = load_settings(unet_run.config_file).pretrained_model_path
    name = Path(base).name
    assert lines[0].startswith(f"note: the base model is recorded as {name}, a folder: others may ")
    assert lines[-2] == "note: the card names no licence: give --license."
    assert lines[-1] == str(folder)
    card = (folder / CARD_FILE).read_text()
    metadata = card.split("---\n")[1]
    assert {"base_model", "license"}.isdisjoint(yaml.safe_load(metadata))
    assert "# license: " in metadata
    assert "# base_model: " in metadata
    assert card.count("*to be filled in*") == 2
    assert str(base) not in card


INTERVAL = {"mean": 7.7, "low": 6.0, "high": 9.5, "n": 8}
SCORES = {
    "format": 1,
    "metrics": {
        "path": {"label": "Path", "better": "lower", "trusted": False},
        "clip_t": {"label": "CLIP-T", "better": "higher", "trusted": None},
    },
    "folders": [
        {
            "folder": "a",
            "mean": {
                "path": INTERVAL,
                "clip_t": {"mean": 0.2871, "low": None, "high": None, "n": 1},
            },
        }
    ],
}


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"format": 2}', json.dumps({**SCORES, "folders": 3})]
)
def test_scores_that_are_none(content: str, tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"scores\.json holds no scores: give the JSON that"):
        read_scores(file)


def test_scores_of_several_folders(tmp_path: Path) -> None:
    folders = [{**SCORES["folders"][0], "folder": name} for name in ("a", "b")]  # type: ignore[index]
    (tmp_path / "scores.json").write_text(json.dumps({**SCORES, "folders": folders}))
    head, first, _ = read_scores(tmp_path / "scores.json")
    assert head == ["metric", "better", "a", "b"]
    assert first[2:] == ["7.7 [6, 9.5], n = 8"] * 2


def test_what_was_chosen_for_the_run_is_packed(
    unet_run: Run, pack: Packer, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = Run(tmp_path / "train_chosen")
    shutil.copytree(unet_run.folder, run.folder)
    write_choice(run.folder, Choice(2, 0.25, 0.5), {})
    chosen = open_pack(pack(run, "--no-sheet"))
    video = chosen.trained.validation_data
    assert (video.noise_prior, video.lora_scale) == (0.0, 0.5)
    told = capsys.readouterr().out
    assert "choice.json: checkpoint 2, noise prior 0.25, LoRA scale 0.5." in told
    assert "the noise prior of 0.25 needs the clip's inversion noise" in told
    assert json.loads((chosen.folder / PACK_FILE).read_text())["checkpoint"] == 2
    other = open_pack(pack(run, "--no-sheet", "-ci", 4, folder="other"))
    assert other.trained.validation_data.lora_scale == 1
    assert json.loads((other.folder / PACK_FILE).read_text())["checkpoint"] == 4


def test_from_python(unet_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options: dict[str, Any] = {
        "output_dir": tmp_path / "pack",
        "contact_sheet": False,
        "quiet": True,
    }
    pack = write_pack(unet_run, device="cpu", checkpoint=2, **options)
    assert pack == open_pack(tmp_path / "pack")
    base = load_settings(unet_run.config_file).pretrained_model_path
    (video,) = generate(
        pack, PROMPT, model=base, repeat_num=1, output_dir=tmp_path, device="cpu", quiet=True
    )
    assert video.entry["checkpoint"] == str(tmp_path / "pack")
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")
    with pytest.raises(UserError, match=r"unknown option 'licence'\. Did you mean 'license'\?"):
        write_pack(unet_run, device="cpu", licence="mit")  # type: ignore[call-arg]


def test_a_pack_is_replaced_only_when_asked(
    unet_run: Run, pack: Packer, refuse: Callable[..., str], tmp_path: Path
) -> None:
    folder = pack(unet_run, "--no-sheet", "--license", "mit")
    (folder / "extra.txt").write_text("")
    pack(unet_run, "--no-sheet", "--overwrite", "--license", "gpl")
    assert {path.name for path in folder.iterdir()} == BARE
    assert "license: gpl" in (folder / CARD_FILE).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]
    assert f"{folder} is there already: choose another --output_dir" in refuse("-o", folder)
    (folder / PACK_FILE).unlink()
    message = f"--output_dir {folder} holds something else than a pack"
    assert message in refuse("-o", folder, "--overwrite")


def test_whole_or_not_at_all(
    unet_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise UserError("it went wrong.")

    monkeypatch.setattr(writing, "generate", fail)
    given = [unet_run.folder, "-o", tmp_path / "pack", "-d", "cpu"]
    assert run_script(monkeypatch, main, *given) == 2
    assert capsys.readouterr().err == "error: it went wrong.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-ci", 3], "has no checkpoint-3; there are: 2, 4."),
        (["--license", "Apache 2.0"], "--license 'Apache 2.0' is no identifier of the Hub"),
        (["--base_model", "tests"], "--base_model 'tests' is no hub id: expected one such as cerspense/"),
        (["-p", " "], "--prompt is blank: say what the contact sheet shall show."),
        (["--no-sheet", "--with-preview"], "--with-preview is for the contact sheet, which --no-sheet"),
        (["--scores", "gone.json"], "gone.json: there is no such file. Give the JSON that"),
        (["-o", "/proc/pack"], "--output_dir /proc/pack cannot be written"),
        (["--with_preview"], "unknown flag --with_preview. Did you mean '--with-preview'?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    flags: list[object],
    message: str,
    unet_run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    assert run_script(monkeypatch, main, unet_run.folder, "-d", "cpu", *flags) == 2
    assert message in capsys.readouterr().err
    assert not list(unet_run.folder.glob("*pack*"))


def test_a_checkpoint_and_another_index(unet_run: Run, refuse: Callable[..., str]) -> None:
    checkpoint = unet_run.checkpoint_folder(2)
    assert f"--checkpoint_index 4: {checkpoint} is a checkpoint" in refuse("-ci", 4, run=checkpoint)


def test_published_runs_are_not_packed(
    unet_run: Run, refuse: Callable[..., str], tmp_path: Path
) -> None:
    run = Run(shutil.copytree(unet_run.folder, tmp_path / "run"))
    run.config_file.unlink()
    assert "checkpoint-4 has no config.yaml beside it or no lora/pytorch" in refuse(run=run.folder)


def test_only_the_clip_s_own_prompt_is_previewed(
    unet_run: Run, refuse: Callable[..., str], tmp_path: Path
) -> None:
    run = Run(shutil.copytree(unet_run.folder, tmp_path / "run"))
    settings = load_settings(run.config_file)
    validation = replace(settings.validation_data, prompt=["A square moves."])
    write_settings(run.config_file, replace(settings, validation_data=validation))
    message = (
        "the run previews nothing but its clip's own prompt: give --prompt for the contact sheet"
    )
    assert message in refuse(run=run.folder)


def test_noise_is_of_the_clip(unet_run: Run, pack: Packer) -> None:
    folder = pack(unet_run, "--no-sheet", "--with-inversion-noise")
    (kept,) = unet_run.reference_folder.glob("inversion-*.safetensors")
    noise, description = read_tensors(folder / NOISE_FILE)
    assert torch.equal(noise["inversion"], read_tensors(kept)[0]["inversion"])
    base = find_base(load_settings(unet_run.config_file).pretrained_model_path)
    assert description == {"base": base.fingerprint(), "num_inference_steps": 4}
    assert "**The clip can be made of it again**" in (folder / CARD_FILE).read_text()


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['pack', '--help']\n"
        "try: runpy.run_module('motionmatcher.pack', run_name='__main__')\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "heavy = {'torch', 'cv2', 'av', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("usage: python -m motionmatcher.pack")
