"""Training on several clips of one motion: what a step draws, resuming, the noise prior's clip."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launching import resume_in_process, run_script, train_in_process, write_config
from safetensors.torch import load_file
from torch import Tensor

import inference
from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.clips.reference import Reference
from motionmatcher.clips.video import read_video, write_mp4
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.config.train_data import TrainData
from motionmatcher.errors import UserError
from motionmatcher.generation.request import _find_noise_clip
from motionmatcher.objectives.feature_matching import FeatureMatching
from motionmatcher.objectives.objective import Batch, TrainingLoss
from motionmatcher.packing.plan import plan_pack
from motionmatcher.runs.manifest import read_manifest
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checks import check_training
from motionmatcher.training.resuming import plan_resuming

WEIGHTS = ("lora/pytorch_lora_weights.safetensors", "training_state.safetensors")
PROMPTS = ["A square moves.", "A red dog moves slowly."]


@pytest.fixture(scope="module")
def other_clip(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip in other colours, under the same name in another folder."""
    path = tmp_path_factory.mktemp("other") / clip_path.name
    write_mp4(path, np.ascontiguousarray(255 - read_video(clip_path)[0][..., ::-1]), fps=8)
    return path


@pytest.fixture(scope="module")
def values(quick_values: dict[str, Any], clip_path: Path, other_clip: Path) -> dict[str, Any]:
    """Settings of a run on two clips, the second from another frame on."""
    clips = [
        {"path": str(clip_path), "prompt": PROMPTS[0]},
        {"path": str(other_clip), "prompt": PROMPTS[1], "sample_start_idx": 3},
    ]
    data = {"clips": clips, "width": 32, "height": 32, "n_sample_frames": 4}
    return {**quick_values, "train_data": data, "lora_unet_dropout": 0.2}


@pytest.fixture(scope="module")
def config(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    return write_config(folder / "config.yaml", {**values, "output_dir": str(folder / "runs")})


@pytest.fixture(scope="module")
def trained(config: Path) -> Run:
    return train_in_process(config)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return load_base_model(find_base(str(tiny_base)), torch.device("cpu"))


def checkpoint_bytes(run: Run, step: int) -> list[bytes]:
    return [(run.checkpoint_folder(step) / name).read_bytes() for name in WEIGHTS]


def drawn_by_hand(count: int, *words: object) -> int:
    name = ":".join(map(str, words))
    return (int.from_bytes(sha256(name.encode()).digest()[:8]) >> 1) % count


def references(run: Run, base: BaseModel) -> list[Reference]:
    settings = run.settings()
    assert settings is not None
    return Reference.each_of_run(settings, base, run)


def test_every_clip_has_its_latents_and_inversion(trained: Run, base: BaseModel) -> None:
    names = sorted(path.name.split("-")[0] for path in trained.reference_folder.iterdir())
    assert names == ["inversion", "inversion", "latents", "latents"]
    one, two = (each.latents(4, 32, 32) for each in references(trained, base))
    assert not torch.equal(one, two)


class Watching(FeatureMatching):
    """Feature matching that remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def loss(self, batch: Batch) -> TrainingLoss:
        self.batches.append(batch)
        return super().loss(batch)


def test_a_step_is_of_the_clip_that_its_own_stream_draws(
    config: Path, trained: Run, base: BaseModel, clip_path: Path
) -> None:
    options = ["validation_data.sample_preview=false", "gradient_accumulation_steps=2"]
    watching, alone = Watching(), Watching()
    train_in_process(config, *options, objective=watching)
    expected = [
        drawn_by_hand(2, 0, "clip", step, micro_step, 0)
        for step in range(4)
        for micro_step in range(2)
    ]
    assert set(expected) == {0, 1}, "both clips are drawn"
    assert [batch.clip for batch in watching.batches] == expected
    latents = [each.latents(4, 32, 32) for each in references(trained, base)]
    for batch in watching.batches:
        assert torch.equal(batch.latents, latents[batch.clip])
        assert torch.equal(batch.text_states, base.text.encode([PROMPTS[batch.clip]]))
    tokens = [extractor.layers.num_own_tokens for extractor in watching.extractors]
    assert tokens == [base.text.count_tokens(prompt) for prompt in PROMPTS]

    empty = f"train_data.clips={json.dumps([{'path': str(clip_path), 'prompt': PROMPTS[0]}])}"
    train_in_process(config, *options, empty, objective=alone)
    for batch, other in zip(watching.batches, alone.batches, strict=True):
        assert torch.equal(batch.noise, other.noise), "other streams do not depend on the clips"
        assert torch.equal(batch.timesteps, other.timesteps)


def test_the_features_are_read_with_the_tokens_of_the_batch_s_prompt(base: BaseModel) -> None:
    objective = FeatureMatching()
    seen: list[int] = []

    def extractor(index: int) -> Any:
        def read(*inputs: Tensor) -> Tensor:
            seen.append(index)
            raise KeyboardInterrupt

        return read

    data: dict[str, Any] = {"single_video_path": "a", "single_video_prompt": "b"}
    values = {"pretrained_model_path": "m", "train_data": data}
    objective.base, objective.settings = base, parse_settings(TrainSettings, values, "test")
    objective.extractors = [extractor(0), extractor(1)]
    noise = torch.randn(1, 4, 2, 4, 4)
    batch = Batch(noise, base.text.encode(["a"]), noise, torch.tensor([900]))
    for clip in (1, 0):
        with pytest.raises(KeyboardInterrupt):
            objective.loss(replace(batch, clip=clip))
    assert seen == [1, 0]


def test_a_list_of_one_is_the_single_clip_to_the_bit(
    config: Path, quick_values: dict[str, Any], clip_path: Path, tmp_path: Path
) -> None:
    quick = ["max_train_steps=2", "validation_data.sample_preview=false", "lora_unet_dropout=0.2"]
    single = write_config(tmp_path / "one.yaml", {**quick_values, "output_dir": str(tmp_path)})
    listed = f"train_data.clips={json.dumps([{'path': str(clip_path), 'prompt': PROMPTS[0]}])}"
    one, other = train_in_process(single, *quick), train_in_process(config, *quick, listed)
    assert checkpoint_bytes(one, 2) == checkpoint_bytes(other, 2)
    files = [sorted(run.reference_folder.iterdir()) for run in (one, other)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_resume_equals_an_unbroken_run(trained: Run, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(trained.folder, killed)
    shutil.rmtree(killed / "checkpoint-4")
    run = resume_in_process(killed)
    assert checkpoint_bytes(run, 4) == checkpoint_bytes(trained, 4)
    weights = load_file(trained.checkpoint_folder(4) / WEIGHTS[0])
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)


def test_what_would_make_it_another_run_is_named(trained: Run, values: dict[str, Any]) -> None:
    def refusal(clips: list[dict[str, Any]]) -> str:
        overrides = [f"train_data.clips={json.dumps(clips)}", "max_train_steps=9"]
        with pytest.raises(UserError) as error:
            plan_resuming((trained, 4), overrides)
        return str(error.value)

    one, two = values["train_data"]["clips"]
    assert "with the number of train_data.clips 2, not 1: resume without" in refusal([one])
    assert "train_data.clips[1].prompt 'A red dog moves slowly.', not 'A cat.': resume" in refusal(
        [one, {**two, "prompt": "A cat."}]
    )
    assert "train_data.clips[1].sample_start_idx 3, not 2: resume" in refusal(
        [one, {**two, "sample_start_idx": 2}]
    )
    moved = [{**one, "path": "moved.mp4"}, two]
    plan = plan_resuming((trained, 2), [f"train_data.clips={json.dumps(moved)}"])
    assert any("train_data.clips[0].path 'moved.mp4' instead of" in line for line in plan.notes)


def test_the_noise_prior_s_clip_is_named_or_drawn_by_the_video_s_seed(
    trained: Run, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed: list[Tensor] = []

    def instead(*inputs: Any) -> Tensor:
        noise = inputs[5].expand(len(inputs[3]), -1, -1, -1, -1)
        mixed.extend(noise)
        return torch.zeros_like(noise)

    monkeypatch.setattr("motionmatcher.generation.generate.sample_latents", instead)
    noises = [each.inversion_noise(4, 32, 32, 4)[0] for each in references(trained, base)]
    assert not torch.equal(*noises)

    def infer(*flags: object) -> list[dict[str, Any]]:
        mixed.clear()
        folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        given = ["-cf", trained.folder, "--device", "cpu", "-o", folder, "-p", "A cat.", *flags]
        assert run_script(monkeypatch, inference.main, *given) == 0
        return [entry["settings"] for entry in read_manifest(folder)]

    drawn = [drawn_by_hand(2, seed, "noise clip") for seed in range(4)]
    assert set(drawn) == {0, 1}
    for batch_size in (1, 3):
        made = infer("-rn", 4, "-r", 0, "-B", batch_size)
        assert [entry["noise_clip"] for entry in made] == [("clip", "clip-2")[i] for i in drawn]
        assert all(torch.equal(noise, noises[i]) for noise, i in zip(mixed, drawn, strict=True))
    for wanted, index in (("clip-2", 1), ("0", 0)):
        made = infer("-rn", 2, "--noise_clip", wanted)
        assert [entry["noise_clip"] for entry in made] == [("clip", "clip-2")[index]] * 2
        assert all(torch.equal(noise, noises[index]) for noise in mixed)


def test_a_preview_is_what_inference_makes_of_its_seed(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["-cf", trained.folder, "--device", "cpu", "-o", tmp_path, "-p", "A circle moves."]
    assert run_script(monkeypatch, inference.main, *given, "-rn", 1) == 0
    preview = trained.samples_folder / "step-00004_a-circle-moves_0.mp4"
    assert (tmp_path / "a-circle-moves_0.mp4").read_bytes() == preview.read_bytes()


def test_a_clip_that_nothing_is_mixed_of(
    trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-cf", trained.folder, "-p", "A cat.", "--noise_clip", "clip", "--noise_prior", 0]
    assert run_script(monkeypatch, inference.main, *given) == 2
    assert "--noise_clip clip: with --noise_prior 0 no noise is mixed in" in capsys.readouterr().err


def test_a_pack_of_several_clips_is_refused(trained: Run) -> None:
    with pytest.raises(UserError, match="was trained on 2 clips, and a pack tells of one"):
        plan_pack(trained.folder)


def test_a_pack_of_a_list_of_one_is_of_the_single_clip(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = trained.settings()
    assert settings is not None
    one = with_clips(settings, clips=settings.train_data.clips[:1])
    monkeypatch.setattr(Run, "settings", lambda self: one)
    plan = plan_pack(trained.folder, contact_sheet=False)
    assert plan.settings.train_data == one.train_data.first


def test_a_run_that_names_no_clip_has_none_to_choose(trained: Run) -> None:
    unknown = TrainData(single_video_path="", single_video_prompt="")
    with pytest.raises(UserError, match=r"noise_clip foo: .* does not say which clips it is of"):
        _find_noise_clip(trained, unknown, 0.3, {"noise_clip": "foo"}, str)


@pytest.fixture
def settings(values: dict[str, Any]) -> TrainSettings:
    return parse_settings(TrainSettings, values, "test")


def with_clips(settings: TrainSettings, **changes: Any) -> TrainSettings:
    data = settings.train_data
    return replace(settings, train_data=replace(data, **changes))


def test_every_clip_is_checked(settings: TrainSettings, tmp_path: Path) -> None:
    one, two = settings.train_data.clips
    gone = str(tmp_path / "gone.mp4")
    with pytest.raises(UserError, match=f"{gone}: there is no such video file"):
        check_training(with_clips(settings, clips=[one, replace(two, path=gone)]))
    late = replace(two, sample_start_idx=9)
    with pytest.raises(UserError, match="has 12 frames, but sample_start_idx 9, frame_step 1 and"):
        check_training(with_clips(settings, clips=[one, late]))


def test_a_dry_run_looks_at_every_clip(settings: TrainSettings, tmp_path: Path) -> None:
    still = tmp_path / "still.mp4"
    write_mp4(still, np.full((8, 64, 80, 3), 90, np.uint8), fps=8)
    one, two = settings.train_data.clips
    plan = check_training(
        with_clips(settings, clips=[one, replace(two, path=str(still))]), dry_run=True
    )
    (note,) = [note for note in plan.notes if note.startswith(f"{still}: hardly anything moves")]
    assert note.endswith("or a larger train_data.clips[1].frame_step.")


def test_clips_must_come_to_one_size(settings: TrainSettings, tmp_path: Path) -> None:
    tall = tmp_path / "tall.mp4"
    write_mp4(tall, np.full((8, 160, 80, 3), 90, np.uint8), fps=8)
    one, two = settings.train_data.clips
    clips = [one, replace(two, path=str(tall))]
    bucketed = with_clips(settings, clips=clips, use_bucketing=True, width=128, height=128)
    with pytest.raises(UserError) as error:
        check_training(bucketed)
    # 80x64 at the area of 128x128: 143 x 114; 80x160: 91 x 181.
    assert str(error.value) == (
        f"train_data.use_bucketing gives clips of other shapes other sizes ({one.path} 128x128, {tall} "
        "64x192), and all must have one: set it to false, or cut the clips to one shape."
    )
    plan = check_training(with_clips(settings, clips=clips))
    assert plan.settings.train_data.clips == clips


def test_a_published_cache_names_no_clip(
    settings: TrainSettings, base: BaseModel, tmp_path: Path
) -> None:
    torch.save({"latents": torch.ones(4, 4, 4, 4)}, tmp_path / "cached_0.pt")
    run = Run(tmp_path)
    cached = replace(settings, cached_latent_dir=str(tmp_path))
    assert not any(each.has_latents(4, 32, 32) for each in Reference.each_of_run(cached, base, run))
    alone = with_clips(cached, clips=settings.train_data.clips[:1])
    (reference,) = Reference.each_of_run(alone, base, run)
    assert reference.has_latents(4, 32, 32)


def test_paths_are_found_from_elsewhere(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(settings.train_data.clips[0].path, name)
    one, two = settings.train_data.clips
    clips = [replace(one, path="one.mp4"), replace(two, path="two.mp4")]
    run = Run.create("runs", with_clips(settings, clips=clips))
    run = Run(run.folder.resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = [
        run.find_path(data.single_video_path)
        for data in with_clips(settings, clips=clips).train_data.each
    ]
    assert found == [str(tmp_path / "one.mp4"), str(tmp_path / "two.mp4")]
