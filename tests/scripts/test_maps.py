"""python -m motionmatcher.maps: pictures, page and JSON of a run, whole or not at all; its errors."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT, run_script, train_in_process, write_config
from PIL import Image, ImageSequence

import motionmatcher
import train
from motionmatcher.errors import UserError, WriteError
from motionmatcher.maps import writing
from motionmatcher.maps.__main__ import main
from motionmatcher.maps.plan import plan_maps
from motionmatcher.runs.run_folder import Run
from testbed.random_base import write_random_wan


@pytest.fixture(scope="module")
def values(quick_values: dict[str, Any]) -> dict[str, Any]:
    previews = {**quick_values["validation_data"], "sample_preview": False, "noise_prior": 0}
    return {
        **quick_values,
        "validation_data": previews,
        "max_train_steps": 1,
        "checkpointing_steps": 1,
    }


@pytest.fixture(scope="module")
def trained(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "config.yaml", {**values, "output_dir": str(folder)})
    return train_in_process(config)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['maps', '--help']\n"
        "try: runpy.run_module('motionmatcher.maps', run_name='__main__')\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "heavy = {'torch', 'cv2', 'av', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("usage: python -m motionmatcher.maps")


def test_pictures_page_and_json_are_the_same_each_time(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = [trained.folder, "--words", "square", "a SQUARE", "--timesteps", "900", "500"]
    arguments += ["--device", "cpu", "--json", tmp_path / "maps.json"]
    folder = trained.folder / "maps"
    found = []
    for _ in range(2):
        assert run_script(monkeypatch, main, *arguments) == 0
        found.append(contents(folder))
    assert found[0] == found[1]
    assert capsys.readouterr().out.splitlines()[-1] == f"look at: {folder / 'index.html'}"
    kinds = ("cross-attention", "temporal-attention")
    pictures = {
        f"{kind}-{step}.{end}" for kind in kinds for step in (500, 900) for end in ("png", "gif")
    }
    pictures |= {"frames-500.png", "frames-900.png"}
    assert found[0].keys() == {*pictures, "index.html", "maps.json"}
    page = found[0]["index.html"].decode()
    assert all(f'src="{picture}"' in page for picture in pictures)
    with Image.open(folder / "cross-attention-500.gif") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == 4
    written = json.loads((tmp_path / "maps.json").read_text())
    assert written == json.loads(found[0]["maps.json"])
    assert written["prompt"] == "A square moves."
    assert written["clip"] in page
    # <start> a s q u a r e m o v e s . <end>
    assert written["words"] == [
        {"word": "square", "tokens": [2, 3, 4, 5, 6, 7]},
        {"word": "a SQUARE", "tokens": [1, 2, 3, 4, 5, 6, 7]},
    ]
    assert [each["timestep"] for each in written["timesteps"]] == [500, 900]
    for each in written["timesteps"]:
        assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in each["frame_attention"])


def test_train_draws_them_when_done(
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    config = write_config(tmp_path / "config.yaml", {**values, "output_dir": str(tmp_path)})
    assert run_script(monkeypatch, train.main, "--config", config, "--maps", "--device", "cpu") == 0
    (run,) = tmp_path.glob("train_*")
    assert capsys.readouterr().out.splitlines()[-1] == f"look at: {run / 'maps' / 'index.html'}"
    written = json.loads((run / "maps" / "maps.json").read_text())
    assert [each["timestep"] for each in written["timesteps"]] == [500, 749]
    assert [each["word"] for each in written["words"]] == ["A", "square", "moves"]
    assert run_script(monkeypatch, train.main, "--config", config, "--maps", "--dry-run") == 2
    assert "--maps reads weights, and --dry-run reads none: drop one" in capsys.readouterr().err


def test_train_refuses_layers_that_the_base_lacks_before_it_trains(
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    lacking = {"spatial_scale_factor": 4096}  # of which the denoising loss knows nothing
    changed = {"objective": "denoising", "motion_extractor": lacking, "output_dir": str(tmp_path)}
    config = write_config(tmp_path / "config.yaml", {**values, **changed})
    assert run_script(monkeypatch, train.main, "--config", config, "--maps", "--device", "cpu") == 2
    assert "spatial_scale_factor" in capsys.readouterr().err
    assert not list(tmp_path.glob("train_*"))


def test_one_word_and_one_timestep_need_no_list(trained: Run) -> None:
    plan = plan_maps(trained.folder, words="square", timesteps=600)
    assert [word.text for word in plan.words] == ["square"]
    assert plan.timesteps == [600]
    with pytest.raises(UserError, match=r"timesteps 600.5: expected whole numbers from 1 to 999"):
        plan_maps(trained.folder, timesteps=[600.5])  # type: ignore[list-item]


def test_no_timestep_lies_nearer_to_the_clip_than_a_step_goes(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = trained.settings()
    assert settings is not None
    far = replace(settings.motion_extractor, num_denoise_steps=5)
    changed = replace(settings, min_timestep=1, motion_extractor=far)
    monkeypatch.setattr(Run, "settings", lambda self: changed)
    assert plan_maps(trained.folder).timesteps == [5, 502]


def test_a_transformer_s_flow_is_drawn_as_arrows(values: dict[str, Any], tmp_path: Path) -> None:
    wan = {
        **values,
        "pretrained_model_path": str(write_random_wan(tmp_path / "base")),
        "train_data": {**values["train_data"], "n_sample_frames": 5},
        "motion_extractor": {"temporal_map": "flow"},
        "output_dir": str(tmp_path),
    }
    run = train_in_process(write_config(tmp_path / "config.yaml", wan))
    drawn = motionmatcher.write_maps(run, timesteps=[600], device="cpu", quiet=True)
    assert not list(drawn.folder.glob("frames-*"))
    page = drawn.page.read_text()
    assert "An arrow leads" in page
    assert "Heat is how much more" not in page
    (maps,) = drawn.maps
    assert maps.flow is not None
    assert "displacement" in drawn.as_dict()["timesteps"][0]
    with Image.open(drawn.folder / "temporal-attention-600.gif") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == maps.flow.shape[0]


def test_what_fails_leaves_the_maps_of_before(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = motionmatcher.write_maps(trained, device="cpu", quiet=True)
    before = contents(drawn.folder)

    def refuse(*_: object) -> str:
        raise WriteError("page", "no space left")

    monkeypatch.setattr(writing, "make_page", refuse)
    with pytest.raises(WriteError):
        motionmatcher.write_maps(trained, words=["square"], device="cpu", quiet=True)
    assert contents(drawn.folder) == before
    assert not list(trained.folder.glob(".maps*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--words", "cirle"],
            "--words: 'cirle' is no word that is read of the reference's prompt",
        ),
        (["--timesteps", "1000"], "--timesteps 1000: expected whole numbers from 1 to 999."),
        (["--timesteps", "0"], "--timesteps 0: expected whole numbers from 1 to 999."),
        (["--word", "square"], "unknown flag --word. Did you mean '--words'?"),
    ],
)
def test_what_does_not_fit_is_refused_before_weights_are_read(
    arguments: list[str],
    message: str,
    trained: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(writing, "load_run_base", lambda *_, **__: pytest.fail("read weights"))
    assert run_script(monkeypatch, main, trained.folder, *arguments) == 2
    assert message in capsys.readouterr().err


def test_runs_without_settings_and_folders_of_others_are_refused(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "published" / "checkpoint-1").mkdir(parents=True)
    assert run_script(monkeypatch, main, tmp_path / "published") == 2
    assert "has no config.yaml, as published runs have none" in capsys.readouterr().err
    copied = tmp_path / "copied"
    (copied / "checkpoint-1").mkdir(parents=True)
    (copied / "config.yaml").write_bytes(trained.config_file.read_bytes())
    (copied / "maps").mkdir()
    (copied / "maps" / "treasure.txt").write_text("mine")
    assert run_script(monkeypatch, main, copied) == 2
    assert (
        f"{copied / 'maps'} holds something else than maps: move it away."
        in capsys.readouterr().err
    )
