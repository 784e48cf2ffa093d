"""The benchmarks: the yardstick computes what we do, and every program runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from launching import run_script

from benchmarks import full_size, sampling, scaling, train_step
from benchmarks.cases import Case
from benchmarks.results import table
from benchmarks.scaling import fit_exponent
from benchmarks.straightforward import straightforward_loss

CPU = torch.device("cpu")


def test_the_straightforward_step_computes_the_same() -> None:
    # In fp64, for the loss is a small difference that fp32 rounds.
    step = Case("tiny", frames=3, size=8, dropout=0.0).real(CPU, torch.float64)
    step = replace(
        step,
        latents=step.latents.double(),
        text_states=step.text_states.double(),
        batch=replace(step.batch, noise=step.batch.noise.double()),
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
    ("main", "flags", "title", "figure"),
    [
        (train_step.main, (), "## Training step, width tiny", "measured"),
        (sampling.main, (), "## Sampling, width tiny", "merge_seconds"),
        (full_size.main, (), "## Full size, difference, float32", "step_seconds"),
        (full_size.main, ("--counted",), "## Full size, counted, float32", "counted"),
        (scaling.main, (), "## Scaling, width tiny", "frames"),
    ],
)
def test_quick_runs_write_their_section_and_json(
    main: Callable[[], None],
    flags: tuple[str, ...],
    title: str,
    figure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page, figures = tmp_path / "RESULTS.md", tmp_path / "figures.json"
    page.write_text(
        f"# Benchmarks\n\n## Another\n\nkept\n\n{title}\n\nold\n\n## Last\n\nkept too\n"
    )
    arguments = ["--quick", *flags, "--results", str(page), "--json", str(figures)]
    assert run_script(monkeypatch, main, *arguments) == 0
    text = page.read_text()
    assert text.count(title) == 1
    assert "old" not in text
    assert text.index("kept\n") < text.index(title) < text.index("## Last\n\nkept too")
    found = json.loads(figures.read_text())
    assert figure in found
    assert "torch" in found["machine"]


def test_fitted_exponent() -> None:
    assert fit_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_table() -> None:
    assert table(["a", "b"], [("x", 1.23456)]) == "| a | b |\n| --- | --- |\n| x | 1.235 |"
