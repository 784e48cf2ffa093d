"""Wan by the programs: training, killing, resuming, inference and scores, and a dry run at full size."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import (
    PROJECT,
    dry_run_at_full_size,
    resume_in_process,
    run_script,
    train_in_process,
    write_config,
)
from processes import StandStill, start
from safetensors.torch import load_file

import inference
import motion_discrepancy
import train
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import ADAPTER_FILE, COMFYUI_FILE
from motionmatcher.clips.video import probe
from motionmatcher.config.loading import load_settings
from motionmatcher.cost.estimate import estimate_run
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.planning import plan_training
from testbed.random_base import WAN_SMALL, write_random_base, write_random_wan

FILES = (f"lora/{ADAPTER_FILE}", f"lora/{COMFYUI_FILE}", "training_state.safetensors")
PAPER = ("bear", "bus", "car_roundabout", "car_turn", "cat", "dog", "eiffel", "gold_fish")


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def values(run_values: dict[str, Any], wan_folder: Path) -> dict[str, Any]:
    return {
        **run_values,
        "pretrained_model_path": str(wan_folder),
        "train_data": {**run_values["train_data"], "n_sample_frames": 5},
        "motion_extractor": {"mode": "tangent"},
        "max_train_steps": 2,
        "checkpointing_steps": 1,
        "validation_steps": 2,
        "lora_unet_dropout": 0.2,
        "mixed_precision": "bf16",
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Run:
    """Two checkpoints, with all that a transformer's config asks for."""
    folder = tmp_path_factory.mktemp("run")
    own = {"output_dir": str(folder), "gradient_checkpointing": "full", "adam_epsilon": 1e-15}
    return train_in_process(write_config(folder / "config.yaml", {**values, **own}))


def test_a_run_settles_what_the_base_decides(trained: Run) -> None:
    settings = load_settings(trained.config_file)
    assert settings.validation_data.scheduler == "unipc"
    weights = load_file(trained.checkpoint_folder(2) / "lora" / ADAPTER_FILE)
    assert len(weights) == 2 * 6 * 3
    assert all(each.any() for name, each in weights.items() if "lora_B" in name)


def test_a_resumed_run_is_the_unbroken_one_to_the_bit(trained: Run, tmp_path: Path) -> None:
    killed = Run(shutil.copytree(trained.folder, tmp_path / "killed"))
    shutil.rmtree(killed.checkpoint_folder(2))
    resume_in_process(killed.folder)
    for name in FILES:
        expected = (trained.checkpoint_folder(2) / name).read_bytes()
        assert (killed.checkpoint_folder(2) / name).read_bytes() == expected
        assert (trained.checkpoint_folder(1) / name).read_bytes() != expected


def test_a_run_keeps_its_shift(trained: Run) -> None:
    with pytest.raises(
        UserError, match=r"was trained with flow_shift None, not 5.0: resume without"
    ):
        resume_in_process(trained.folder, "flow_shift=5", "max_train_steps=3")


def test_a_killed_training_goes_on(values: dict[str, Any], tmp_path: Path) -> None:
    own = {"output_dir": str(tmp_path / "runs"), "max_train_steps": 10_000}
    preview = {**values["validation_data"], "sample_preview": False, "noise_prior": 0}
    config = write_config(tmp_path / "config.yaml", {**values, **own, "validation_data": preview})
    flags = ("--config", config, "--device", "cpu")
    program = start(tmp_path / "log.txt", "train", *flags, disturbances=[StandStill()])
    folder = tmp_path / "runs" / f"train_{StandStill.time}"
    program.wait_for(folder / "checkpoint-3")
    program.kill()
    assert program.wait() == -signal.SIGKILL
    last = max(int(path.name.partition("-")[2]) for path in folder.glob("checkpoint-*"))
    run = resume_in_process(folder, f"max_train_steps={last + 1}")
    assert run.checkpoint_folder(last + 1).is_dir()


def test_the_room_of_a_checkpoint_is_that_of_both_lora_files(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(trained.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    with pytest.raises(UserError, match=r"a checkpoint takes .* MiB") as refused:
        plan_training(trained.config_file, ["lora_rank=640"], device=torch.device("cpu"))
    weights = load_file(trained.checkpoint_folder(2) / "lora" / ADAPTER_FILE)  # of rank 2
    needed = 640 / 2 * sum(each.nbytes for each in weights.values()) * (2 + 2)  # and two moments
    told = re.search(r"takes (\S+) MiB", str(refused.value))
    assert told
    assert float(told[1]) == pytest.approx(needed / 2**20, rel=0.01)


def test_inference_with_a_noise_prior_and_a_score(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, scores = tmp_path / "out", tmp_path / "scores.json"
    given = ["--checkpoint_folder", trained.folder, "--prompt", "A circle moves.", "-d", "cpu"]
    given += ["--noise_prior", 0.3, "--repeat_num", 1, "-o", output, "--json", tmp_path / "a.json"]
    assert run_script(monkeypatch, inference.main, *given, "--scheduler", "euler") == 0
    (entry,) = json.loads((tmp_path / "a.json").read_text())["videos"]
    assert entry["settings"]["scheduler"] == "euler"
    video = probe(output / entry["file"])
    assert (video.num_frames, video.width, video.height) == (5, 32, 32)

    clip = load_settings(trained.config_file).train_data.single_video_path
    arguments = ["--tracker", "flow", "--grid_size", 4, "--output_dir", output]
    arguments += ["--source_video", clip, "--json", scores]
    assert run_script(monkeypatch, motion_discrepancy.main, *arguments) == 0
    (scored,) = json.loads(scores.read_text())["folders"][0]["videos"]
    assert scored["scores"]["motion_discrepancy"] >= 0


def test_inference_in_a_precision_that_the_weights_do_not_stand(
    trained: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--checkpoint_folder", trained.folder, "--prompt", "A circle moves.", "-d", "cpu"]
    given += ["-o", tmp_path / "out", "--mixed_precision", "fp16"]
    assert run_script(monkeypatch, inference.main, *given) == 2
    message = "--mixed_precision fp16: this base's weights do not stand it: use bf16 or no."
    assert capsys.readouterr().err == f"error: {message}\n"


def test_the_documented_way_to_use_a_lora_elsewhere(trained: Run, wan_folder: Path) -> None:
    page = (PROJECT / "docs" / "bases.md").read_text(encoding="utf-8")
    section = page.partition("\n## Wan\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(program.splitlines()) <= 10
    for documented, here in (
        ("models/wan2.1_t2v_1.3b", str(wan_folder)),
        ("outputs/train/my_run/checkpoint-400/lora", str(trained.checkpoint_folder(2) / "lora")),
        ("num_frames=33", "num_frames=5, height=32, width=32, num_inference_steps=1"),
    ):
        assert documented in program
        program = program.replace(documented, here)
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["video"].shape == (5, 32, 32, 3)
    loaded = {
        name for name, _ in names["pipeline"].transformer.named_modules() if ".lora_A" in name
    }
    assert len(loaded) == 2 * 6 * 3, "a container and a Linear for each target"


def test_its_parts_go_with_those_of_other_bases(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer with the VAE of frames and CLIP's text encoder, on Euler's schedule, in fp32."""
    from diffusers import WanTransformer3DModel

    base = write_random_base(tmp_path / "base")
    shutil.rmtree(base / "unet")
    torch.manual_seed(0)
    sizes = {**WAN_SMALL["transformer"], "in_channels": 4, "out_channels": 4}
    WanTransformer3DModel(**sizes).save_pretrained(base / "transformer")
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    own: dict[str, Any] = {
        "pretrained_model_path": str(base),
        "output_dir": str(tmp_path / "runs"),
        "train_data": {**values["train_data"], "n_sample_frames": 4},
        "mixed_precision": "no",
        "motion_extractor": {"mode": "difference", "temporal_map": "flow", "blocks": [1]},
        "lora_targets": ["attention", "cross_attention"],
        "flow_shift": 5.0,
    }
    run = train_in_process(write_config(tmp_path / "config.yaml", {**values, **own}))
    assert load_settings(run.config_file).validation_data.scheduler == "euler"
    assert len(load_file(run.checkpoint_folder(2) / "lora" / ADAPTER_FILE)) == 2 * 10 * 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train_data.n_sample_frames=6", "6 frames: this base model takes 4k + 1 frames: use 5 or 9."),
        ("train_data.width=40", "width 40 must be a multiple of 16 pixels for this base model: use 48."),
        ("mixed_precision=fp16", "mixed_precision fp16: this base's weights do not stand it: use bf16"),
        ("motion_extractor.blocks=[0,3]", "motion_extractor.blocks: there is no block 3: this base has"),
        ("motion_extractor.spatial_scale_factor=2", "motion_extractor.spatial_scale_factor is for UNets"),
        ("validation_data.scheduler=ddim", "scheduler ddim does not go with this base's schedule:"),
        ("rescale_schedule=true", "rescale_schedule is for noise schedules, and this base was trained"),
        ("lora_targets=[temporal_conv]", "lora_targets: this base has no temporal_conv: expected of"),
        ("flow_shift=0", "flow_shift must be at least 0.001, not 0"),
    ],
)  # fmt: skip
def test_what_the_base_does_not_take_is_one_line(
    values: dict[str, Any],
    tmp_path: Path,
    override: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(tmp_path / "config.yaml", {**values, "output_dir": str(tmp_path)})
    arguments = ["--config", config, "--device", "cpu", override]
    assert run_script(monkeypatch, train.main, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("motion_extractor.blocks=[0]", "motion_extractor.blocks is for transformers, and this base is"),
        ("motion_extractor.temporal_map=flow", "motion_extractor.temporal_map is for transformers"),
        ("flow_shift=3", "flow_shift is for bases that were trained by flow matching"),
        ("lora_targets=[cross_attention]", "lora_targets: this base has no cross_attention"),
        ("validation_data.scheduler=euler", "scheduler euler does not go with this base's schedule"),
    ],
)  # fmt: skip
def test_what_is_for_transformers_alone_is_refused_on_a_unet(
    run_values: dict[str, Any],
    tmp_path: Path,
    override: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(tmp_path / "config.yaml", {**run_values, "output_dir": str(tmp_path)})
    arguments = ["--config", config, "--device", "cpu", override]
    assert run_script(monkeypatch, train.main, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_folder_mixed_of_two_models_is_refused(
    values: dict[str, Any],
    wan_folder: Path,
    base_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mixed = shutil.copytree(wan_folder, tmp_path / "mixed")
    shutil.copytree(base_folder / "unet", mixed / "unet")
    own = {"output_dir": str(tmp_path), "pretrained_model_path": str(mixed)}
    config = write_config(tmp_path / "config.yaml", {**values, **own})
    assert run_script(monkeypatch, train.main, "--config", config, "--device", "cpu") == 2
    assert "has both unet and transformer: it is mixed of two models" in capsys.readouterr().err


def test_more_than_it_has_positions_for_is_refused(wan_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(wan_folder, tmp_path / "base")
    config = base / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_max_seq_len": 3}))
    layout = find_base(str(base))
    assert layout.latent_shape(9, 48, 48) == (16, 3, 6, 6)
    with pytest.raises(UserError, match=r"^13 frames: .* takes at most 3, and they are 4 in its"):
        layout.latent_shape(13, 48, 48)
    with pytest.raises(
        UserError, match=r"^64x48 pixels: .* at most 6 latents in a row, .* are 8x6"
    ):
        layout.latent_shape(9, 64, 48)


def test_a_dry_run_at_full_size_from_configs_alone(
    tmp_path: Path,
    clip_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = {
        "single_video_path": str(clip_path),
        "single_video_prompt": "A square moves.",
        "n_sample_frames": 9,
    }
    found = dry_run_at_full_size(monkeypatch, tmp_path, "wan", "wan_1_3b.yaml", clip)
    assert (found["lora_modules"], found["lora_parameters"]) == (180, 31_948_800)
    assert found["latent_size"] == [60, 104]
    assert found["cross_attention_map_size"] == found["temporal_attention_map_size"] == [30, 52]
    assert found["tokens"] == 3 * 30 * 52
    output = capsys.readouterr().out
    assert "no weights yet for transformer, vae, text_encoder" in output
    assert "tokens: 4,680" in output


@pytest.mark.parametrize("recomputed", ["none", "selective", "full"])
def test_a_dry_run_tells_the_memory_with_the_recomputation_set(
    values: dict[str, Any], tmp_path: Path, recomputed: str
) -> None:
    own = {"output_dir": str(tmp_path), "gradient_checkpointing": recomputed}
    config = write_config(tmp_path / "config.yaml", {**values, **own})
    cpu = torch.device("cpu")
    plan = plan_training(config, device=cpu, dry_run=True)
    cost = estimate_run(plan.layout, plan.settings, cpu)
    assert list(cost.steps) == [recomputed]
    (shown,) = [line for line in cost.lines() if line.startswith("memory")]
    assert shown.startswith(f"memory in bfloat16 with gradient_checkpointing {recomputed}: ")
    assert cost.values()["gradient_checkpointing"] == {recomputed: cost.chosen.values()}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_clips_have_configs_for_it(name: str) -> None:
    ours = load_settings(PROJECT / "configs" / "wan" / f"config_{name}.yaml")
    papers = load_settings(PROJECT / "configs" / f"config_{name}.yaml")
    assert ours.pretrained_model_path == "models/wan2.1_t2v_1.3b"
    assert (ours.train_data.n_sample_frames, ours.train_data.width, ours.train_data.height) == (
        *(13, 480, 480),
    )
    for key in ("single_video_path", "single_video_prompt", "fps"):
        assert getattr(ours.train_data, key) == getattr(papers.train_data, key)
    assert ours.validation_data.prompt == papers.validation_data.prompt
    assert ours.validation_data.noise_prior == papers.validation_data.noise_prior
    assert ours.max_train_steps == papers.max_train_steps
    assert (ours.mixed_precision, ours.motion_extractor.mode) == ("bf16", "tangent")
