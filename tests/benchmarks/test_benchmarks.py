"""The benchmarks: the yardstick computes what we do, and every program runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from launching import run_script

from benchmarks import full_size, lora_linear, sampling, scaling, train_step
from benchmarks.cases import Case, WanCase, random_denoiser
from benchmarks.floor import LoraCounter, count_floor
from benchmarks.results import table
from benchmarks.scaling import fit_exponent
from benchmarks.straightforward import straightforward_loss

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "case",
    [
        Case("tiny", frames=3, size=8, dropout=0.0),
        WanCase("tiny", 9, (4, 6), dropout=0.0, mode="difference", checkpointing=False),
    ],
    ids=["zeroscope", "wan"],
)
def test_the_straightforward_step_computes_the_same(case: Case) -> None:
    # In fp64, for the loss is a small difference that fp32 rounds.
    step = case.real(CPU, torch.float64)
    batch = step.batch
    step = replace(
        step,
        batch=replace(
            batch,
            latents=batch.latents.double(),
            text_states=batch.text_states.double(),
            noise=batch.noise.double(),
        ),
    )
    unet = step.base.denoiser.double()
    for name, weight in unet.lora_parameters().items():
        assert weight.any(), f"{name} is not zero"

    def gradients(total: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(total, list(unet.lora_parameters().values())))

    ours = step.loss().total
    straightforward = straightforward_loss(step).total
    torch.testing.assert_close(ours, straightforward, rtol=1e-6, atol=0)
    pairs = zip(gradients(ours), gradients(straightforward), strict=True)
    for our_gradient, other in pairs:
        assert our_gradient.any()
        torch.testing.assert_close(
            our_gradient, other, rtol=1e-4, atol=float(other.abs().max()) * 1e-5
        )


@pytest.mark.parametrize(
    ("main", "flags", "title", "value"),
    [
        (train_step.main, (), "## Training step, width tiny", "measured"),
        (sampling.main, (), "## Sampling, width tiny", "merge_seconds"),
        (full_size.main, (), "## Full size, difference, float32", "step_seconds"),
        (full_size.main, ("--counted",), "## Full size, counted, float32", "counted"),
        (
            full_size.main,
            ("--base", "wan"),
            "## Wan, 5 frames of 64x64, tangent, float32",
            "step_seconds",
        ),
        (
            full_size.main,
            ("--base", "wan", "--counted"),
            "## Wan, 5 frames of 64x64, counted, float32",
            "straightforward",
        ),
        (scaling.main, (), "## Scaling, width tiny", "frames"),
        (lora_linear.main, (), "## LoRA of a Linear", "steps"),
    ],
)
def test_quick_runs_write_their_section_and_json(
    main: Callable[[], None],
    flags: tuple[str, ...],
    title: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page, values = tmp_path / "RESULTS.md", tmp_path / "values.json"
    page.write_text(
        f"# Benchmarks\n\n## Another\n\nkept\n\n{title}\n\nold\n\n## Last\n\nkept too\n"
    )
    arguments = ["--quick", *flags, "--results", str(page), "--json", str(values)]
    assert run_script(monkeypatch, main, *arguments) == 0
    text = page.read_text()
    assert text.count(title) == 1
    assert "old" not in text
    assert text.index("kept\n") < text.index(title) < text.index("## Last\n\nkept too")
    found = json.loads(values.read_text())
    assert value in found
    assert "torch" in found["machine"]
    if main is train_step.main:
        assert 1 < found["counted"]["ours"]["flops"] / found["floor_flops"] < 1.2


def test_random_denoiser_is_on_its_device_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator()
    monkeypatch.setattr(torch, "Generator", lambda device: generator)  # there is none of meta
    case, meta = WanCase("tiny", 5, 8), torch.device("meta")
    denoiser = random_denoiser(
        case.denoiser_class, case.config, case.settings, meta, torch.bfloat16
    )
    buffers = dict(denoiser.named_buffers())
    assert "rope.freqs_cos" in buffers
    assert {tensor.device for tensor in [*buffers.values(), *denoiser.parameters()]} == {meta}


def test_no_checkpointed_step_takes_less_than_the_floor() -> None:
    case = Case("tiny", frames=2, size=8, checkpointing=True)
    counted = train_step.count(case, "ours", torch.device("cpu"))["flops"]
    assert 1 < counted / count_floor(case).checkpointed < 1.2


def test_floor_of_the_lora_by_hand() -> None:
    """One Linear of 4 to 6 with rank 2 on 5 tokens: two products each way, but for its input's."""
    linear = torch.nn.Linear(4, 6)
    layer = torch.nn.ModuleDict({"attn1": torch.nn.ModuleDict({"to_q": linear})})
    layer.requires_grad_(False)
    counter = LoraCounter(layer, ["attn1.to_q"], rank=2)
    with counter.counting():
        output = linear(torch.zeros(5, 4))
    forward = 2 * 2 * 5 * (4 + 6)
    assert output.requires_grad
    assert (counter.forward, counter.backward) == (forward, 2 * forward - 2 * 2 * 5 * 4)
    with counter.counting():
        linear(torch.zeros(5, 4, requires_grad=True))
    assert counter.backward == 4 * forward - 2 * 2 * 5 * 4


def test_fitted_exponent() -> None:
    assert fit_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_table() -> None:
    assert table(["a", "b"], [("x", 1.23456)]) == "| a | b |\n| --- | --- |\n| x | 1.235 |"
