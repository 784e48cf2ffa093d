"""inference.py's flags are checked, and completed by what the run knows."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inference import parse_arguments
from inference import request_of as of_flags
from motionmatcher.config.loading import load_settings, parse_settings, write_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.sampling import SamplingSettings
from motionmatcher.errors import UserError
from motionmatcher.generation.generate import GenerationRequest
from motionmatcher.generation.request import make_request
from motionmatcher.runs.choice import Choice, write_choice
from motionmatcher.runs.run_folder import Run

TRAINED = SamplingSettings(
    num_frames=4,
    width=40,
    height=32,
    num_inference_steps=5,
    guidance_scale=7.0,
    lora_scale=0.9,
    noise_prior=0.25,
    min_timestep=300,
    scheduler="dpm++",
)


@pytest.fixture
def run(tmp_path: Path, quick_values: dict[str, Any]) -> Run:
    validation = {
        "prompt": "A circle moves.",
        "seed": 21,
        "num_frames": 4,
        "width": 40,
        "height": 32,
        "num_inference_steps": 5,
        "guidance_scale": 7,
        "lora_scale": 0.9,
        "noise_prior": 0.25,
        "scheduler": "dpm++",
    }
    values = {**quick_values, "validation_data": validation, "min_timestep": 300}
    values["train_data"] = {**quick_values["train_data"], "fps": 6}
    run = Run(tmp_path / "train_x")
    for step in (2, 10):
        run.checkpoint_folder(step).mkdir(parents=True)
    write_settings(run.config_file, parse_settings(TrainSettings, values, "test"))
    return run


@pytest.fixture
def request_of(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., GenerationRequest]:
    """Make the request of a command line, with prompt, run and output folder given."""

    def make(*flags: str, prompt: str | None = "A cat.") -> GenerationRequest:
        prompts = [] if prompt is None else ["--prompt", prompt]
        common = ["--checkpoint_folder", str(run.folder), "-o", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["inference.py", *prompts, *common, *flags])
        return of_flags(parse_arguments())

    return make


def test_the_run_s_settings_are_the_defaults(
    request_of: Callable[..., GenerationRequest], run: Run, tiny_base: Path
) -> None:
    request = request_of()
    assert request.sampling == TRAINED
    assert request.prompts == ["A cat."]
    assert (request.seed, request.repeat_num, request.batch_size) == (21, 10, 1)
    assert request.checkpoint == run.folder / "checkpoint-10"
    assert request.layout.folder == tiny_base
    assert request.mixed_precision == "no"
    assert request.fps == 6
    assert request.lora_rank is None
    assert not request.gif


@pytest.mark.parametrize(
    "flags",
    [
        "-W 48 -H 64 -T 8 -s 9 -g 3.5 -ls 0.5 -np 0 -mn 100 -n blurry --scheduler unipc",
        "--width 48 --height 64 --num-frames 8 --num-steps 9 --guidance-scale 3.5 "
        "--lora_scale 0.5 --noise_prior 0 --min_timestep 100 --negative-prompt blurry "
        "--scheduler unipc",
    ],
    ids=["short", "long"],
)
def test_flags_win_over_the_run(request_of: Callable[..., GenerationRequest], flags: str) -> None:
    assert request_of(*flags.split()).sampling == SamplingSettings(
        num_frames=8,
        width=48,
        height=64,
        num_inference_steps=9,
        guidance_scale=3.5,
        lora_scale=0.5,
        noise_prior=0.0,
        min_timestep=100,
        negative_prompt="blurry",
        scheduler="unipc",
    )


def test_the_largest_seeds(request_of: Callable[..., GenerationRequest]) -> None:
    assert request_of("-r", "18446744073709551613", "-rn", "3").seed == 2**64 - 3
    torch.Generator().manual_seed(2**64 - 1)  # so much a generator takes


def test_a_zero_is_given_too(request_of: Callable[..., GenerationRequest]) -> None:
    sampling = request_of("-np", "0", "-ls", "0", "-mn", "0", "-g", "0").sampling
    assert sampling == replace(
        TRAINED, noise_prior=0, lora_scale=0, min_timestep=0, guidance_scale=0
    )
    assert request_of("-r", "0").seed == 0


def test_the_rest_of_the_flags(
    request_of: Callable[..., GenerationRequest], run: Run, tiny_base: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_base, tmp_path / "other_base")
    flags = f"-m {model} -r 4 -rn 3 -B 2 -ci 2 -lr 8 -f 12.5 --gif --mixed_precision bf16".split()
    request = request_of(*flags)
    assert request.layout.folder == model
    assert (request.seed, request.repeat_num, request.batch_size) == (4, 3, 2)
    assert request.checkpoint == run.folder / "checkpoint-2"
    assert request.lora_rank == 8
    assert request.fps == 12.5
    assert request.mixed_precision == "bf16"
    assert request.gif
    assert request.output_dir == tmp_path / "out"


def test_a_checkpoint_may_be_given_instead_of_its_run(
    request_of: Callable[..., GenerationRequest], run: Run
) -> None:
    checkpoint = str(run.folder / "checkpoint-2")
    for flags in (["-cf", checkpoint], ["-cf", f"{checkpoint}/", "-ci", "2"]):
        request = request_of(*flags)
        assert request.checkpoint == run.folder / "checkpoint-2"
        assert request.run == run
        assert request.sampling == TRAINED, "what the run knows is the default"
    with pytest.raises(UserError, match=r"--checkpoint_index 10: .*checkpoint-2 is a checkpoint"):
        request_of("-cf", checkpoint, "-ci", "10")
    with pytest.raises(UserError, match="has no checkpoint-3; there are: 2, 10"):
        request_of("-cf", str(run.folder / "checkpoint-3"))


def test_compile_is_as_trained_or_as_the_flag_says(
    request_of: Callable[..., GenerationRequest], run: Run
) -> None:
    assert not request_of().compile
    assert request_of("--compile").compile
    settings = load_settings(run.config_file, ["compile=true"])
    write_settings(run.config_file, settings)
    assert request_of().compile
    assert not request_of("--no-compile").compile


def test_a_published_run_takes_the_published_values(
    request_of: Callable[..., GenerationRequest], run: Run, tiny_base: Path
) -> None:
    run.config_file.unlink()
    request = request_of("--model", str(tiny_base))
    assert request.sampling == SamplingSettings(
        num_frames=16,
        width=384,
        height=384,
        num_inference_steps=75,
        guidance_scale=12.0,
        lora_scale=1.0,
        noise_prior=0.3,
        min_timestep=500,
        scheduler="ddim",
    )
    assert (request.seed, request.fps, request.mixed_precision) == (0, 8, "fp16")
    assert request.trained is None


def test_a_published_run_without_its_base(
    request_of: Callable[..., GenerationRequest],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run.config_file.unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="models/zeroscope_v2_576w/: there is no such base model"):
        request_of()


def test_prompts_of_flags_and_of_a_file(
    request_of: Callable[..., GenerationRequest], tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("A dog.\n\n  A bär.  \nA cat.\n", encoding="utf-8")
    request = request_of("-p", "A bird.", "--prompts", str(file))
    assert request.prompts == ["A cat.", "A bird.", "A dog.", "A bär."]
    assert request.notes == ['the prompt "A cat." is given 2 times: its videos are made once.']
    assert request_of().notes == []


def test_no_prompt_at_all(request_of: Callable[..., GenerationRequest]) -> None:
    with pytest.raises(UserError, match=r'^no prompt: give --prompt "…", or --prompts FILE'):
        request_of(prompt=None)


def test_a_blank_prompt_is_not_left_out_silently(
    request_of: Callable[..., GenerationRequest],
) -> None:
    with pytest.raises(UserError, match=r"^--prompt is blank: say what the videos shall show\.$"):
        request_of("-p", "  ")


def test_a_prompts_file_that_is_not_there(request_of: Callable[..., GenerationRequest]) -> None:
    with pytest.raises(UserError, match=r"^--prompts none\.txt: there is no such file"):
        request_of("--prompts", "none.txt")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-rn 0", "--repeat_num must be at least 1, not 0"),
        ("-B 0", "--batch-size must be at least 1, not 0"),
        ("-T 0", "--num-frames must be at least 1, not 0"),
        ("-s 0", "--num-steps must be at least 1, not 0"),
        ("-g -1", "--guidance-scale must be at least 0, not -1"),
        ("-ls -0.5", "--lora_scale must be at least 0, not -0.5"),
        ("-np 1.5", "--noise_prior must be at most 1, not 1.5"),
        ("-np nan", "--noise_prior must be a finite number, not nan"),
        ("-mn -1", "--min_timestep must be at least 0, not -1"),
        (
            "-r 18446744073709551616",
            "--seed must be at most 18446744073709551615, not 184467440737095516",
        ),
        (
            "-r 18446744073709551615 -rn 3",
            "the seeds of 3 videos count up from 18446744073709551615 beyond the largest, .* start from "
            "18446744073709551613 or less",
        ),
        ("-ci 99999999999", "--checkpoint_index must be at most 1000000000, not 99999999999"),
        ("-lr 0", "--lora_rank must be at least 1, not 0"),
        ("-rn 1000000000", "--repeat_num must be at most 100000, not 1000000000"),
        ("-g 1e300", r"--guidance-scale must be at most 1000, not 1e\+300"),
        ("-ls inf", "--lora_scale must be a finite number, not inf"),
        ("-ls 1e30", r"--lora_scale must be at most 100, not 1e\+30"),
        ("-f inf", "--fps must be a finite number, not inf"),
        ("-W 1000000000", "--width must be at most 8192, not 1000000000"),
        ("-T 1000000000", "--num-frames must be at most 10000, not 1000000000"),
        ("-B 1000000000", "--batch-size must be at most 10000, not 1000000000"),
        ("-r -1", "--seed must be at least 0, not -1"),
        ("-f 0", "--fps must be at least 0.1, not 0"),
        ("-W 36", "width 36 must be a multiple of 8 pixels for this base model: use 40"),
        ("-ci 3", "has no checkpoint-3; there are: 2, 10"),
        ("-m models/none", "models/none: there is no such base model folder"),
        ("-cf nowhere", "nowhere: there is no such run folder"),
    ],
)
def test_what_does_not_fit_is_named(
    request_of: Callable[..., GenerationRequest], flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        request_of(*flags.split())


@pytest.mark.parametrize("content", ["{", '{"vidéos": []}', "[]", 50_000 * '{"videos":'])
def test_a_damaged_manifest_is_known_before_the_work(
    request_of: Callable[..., GenerationRequest], tmp_path: Path, content: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json .*Move it away, or choose"):
        request_of()


def test_a_request_writes_nothing(
    request_of: Callable[..., GenerationRequest], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    request_of()
    assert sorted(tmp_path.rglob("*")) == before


def test_unknown_flags_are_refused(
    request_of: Callable[..., GenerationRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        request_of("--noise-prior", "0.5")
    assert caught.value.code == 2
    message = "error: unknown flag --noise-prior. Did you mean '--noise_prior'?"
    assert capsys.readouterr().err.startswith(message)


CHOICE = Choice(checkpoint=2, noise_prior=0.5, lora_scale=1.25)


def test_what_was_chosen_for_the_run_is_the_default_and_is_said(
    request_of: Callable[..., GenerationRequest], run: Run
) -> None:
    write_choice(run.folder, CHOICE, {})
    request = request_of()
    assert request.sampling == replace(TRAINED, noise_prior=0.5, lora_scale=1.25)
    assert request.checkpoint == run.folder / "checkpoint-2"
    assert request.notes == [
        f"from {run.folder / 'choice.json'}: --checkpoint_index 2, --noise_prior 0.5, --lora_scale 1.25."
    ]


def test_flags_win_over_the_choice(
    request_of: Callable[..., GenerationRequest], run: Run, tmp_path: Path
) -> None:
    write_choice(run.folder, CHOICE, {})
    request = request_of("--checkpoint_index", "10", "--noise_prior", "0")
    assert request.sampling == replace(TRAINED, noise_prior=0, lora_scale=1.25)
    assert request.checkpoint == run.folder / "checkpoint-10"
    assert request.notes == [f"from {run.folder / 'choice.json'}: --lora_scale 1.25."]
    assert not request_of("-ci", "10", "-np", "0", "-ls", "1").notes
    # A checkpoint's folder says which one is meant.
    of_folder = make_request(run.checkpoint_folder(10), ["A cat."], output_dir=tmp_path / "out")
    assert of_folder.checkpoint == run.folder / "checkpoint-10"
    assert of_folder.notes == [
        f"from {run.folder / 'choice.json'}: noise_prior 0.5, lora_scale 1.25."
    ]


def test_a_choice_of_a_checkpoint_that_is_gone(
    request_of: Callable[..., GenerationRequest], run: Run
) -> None:
    write_choice(run.folder, replace(CHOICE, checkpoint=7), {})
    message = (
        r"choice\.json names checkpoint 7, which .*train_x does not have: give --checkpoint_index,"
    )
    with pytest.raises(UserError, match=message):
        request_of()
    assert request_of("-ci", "2").checkpoint == run.folder / "checkpoint-2"


def test_a_broken_choice_is_refused_unless_nothing_is_asked_of_it(
    request_of: Callable[..., GenerationRequest], run: Run
) -> None:
    (run.folder / "choice.json").write_text("{}")
    with pytest.raises(UserError, match=r"choice\.json is no choice of format 1\. Delete it"):
        request_of("-ci", "2", "-np", "0")
    assert request_of("-ci", "2", "-np", "0", "-ls", "1").sampling.lora_scale == 1
