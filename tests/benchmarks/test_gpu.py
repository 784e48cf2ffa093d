"""The measurement on a GPU: what it compares, by hand, and its parts at a tiny size on the CPU."""

import json
import pkgutil
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from launching import PROJECT, run_script
from torch.nn import functional as F

from benchmarks import gpu, gpu_parts
from benchmarks.gpu_cases import steps_of
from benchmarks.gpu_tables import compare, paragraphs
from benchmarks.results import find_section
from benchmarks.timed_parts import DONE, FAILED, RUNNING, STOPPED, Part, PartResult
from motionmatcher.features import dual_attention
from motionmatcher.features.attention_maps import probabilities
from motionmatcher.features.dual_attention import DualAttention


def run_here(
    parts: Sequence[Part],
    options: Mapping[str, Any],
    seconds: float,
    on_change: Callable[[Mapping[str, PartResult]], None],
    start_method: str,
) -> dict[str, PartResult]:
    """Stand in for `run_parts`: in this process, without limits."""
    results = {part.name: PartResult() for part in parts}
    for part in parts:
        result, find = results[part.name], pkgutil.resolve_name(part.function)
        find(tell=result.found.append, **options, **part.options)
        result.state = DONE
        on_change(results)
    return results


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of results; parts run in this process."""
    monkeypatch.setattr(gpu, "run_parts", run_here)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    page = tmp_path / "RESULTS.md"
    page.write_text("# Benchmarks\n\n## Another\n\nkept\n")
    return page


def quick(
    monkeypatch: pytest.MonkeyPatch, page: Path, *parts: str
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Run parts at a tiny size; gives the JSON, and what each part found."""
    file = page.with_suffix(".json")
    arguments = ["--quick", "--results", page, "--json", file, "--parts", *parts]
    assert run_script(monkeypatch, gpu.main, *arguments) == 0
    values = json.loads(file.read_text())
    return values, {name: part["found"] for name, part in values["parts"].items()}


def test_steps_are_measured_beside_their_estimate(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    values, found = quick(monkeypatch, page, "card", "counts", "zeroscope", "wan")
    printed, lines = capsys.readouterr()
    assert [line for line in lines.splitlines() if ": done" in line] == [
        f"{part}: done" for part in found
    ]
    for base in ("zeroscope", "wan"):
        names = [step["name"] for step in found[base]]
        assert names == [step.name for step in steps_of(base, quick=True)]
        assert f"| {base} | {names[0]} |" in printed
    assert len([each for each in found["card"] if each["kind"] == "rate"]) == 3
    assert len(values["compared"]) == 3
    for step in values["compared"]:
        assert step["loss"] > 0
        assert 1 <= len(step["all_seconds"]) <= 3
        assert step["peak_of_estimate"] == pytest.approx(1, abs=0.1)
        assert 0 < step["share_of_rate"] < 1
    assert "Not measured whole" not in printed
    assert gpu.NOT_MEASURED in page.read_text()
    assert "kept" in page.read_text()


def test_a_line_says_how_a_part_stands() -> None:
    stopped = PartResult(STOPPED, 12.4, [{"kind": "step"}], "its time was over")
    assert gpu.line_about("wan", PartResult(RUNNING)) == "wan: running"
    assert gpu.line_about("wan", stopped) == "wan: stopped in 12 s, 1 found: its time was over"


@pytest.mark.parametrize("base", ["zeroscope", "wan"])
def test_fused_attention_of_dual_numbers_is_measured_beside_explicit(base: str) -> None:
    (fused,) = [step for step in steps_of(base, quick=False) if step.fused]
    explicit = replace(fused, fused=False)
    assert explicit in steps_of(base, quick=False)
    assert (fused.name, explicit.name) == (f"{explicit.name} fused", explicit.name)
    query = torch.randn(1, 1, 4, 8)
    for step in (fused, explicit):
        with (
            patch.object(dual_attention, "probabilities", wraps=probabilities) as asked,
            step.attention(),
            DualAttention(),
        ):
            F.scaled_dot_product_attention(query, query, query)
        assert asked.called == (step is explicit)


@pytest.mark.parametrize("base", ["zeroscope", "wan"])
def test_training_and_sampling(base: str, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, found = quick(monkeypatch, page, f"{base}-training", f"{base}-sampling")
    *told, trained = found[f"{base}-training"]
    assert trained["steps"] == 3
    assert trained["losses"] == [each["loss"] for each in told], "told step by step"
    assert trained["loss_scale_sane"]
    assert trained["skipped_updates"] == 0
    assert trained["lora_b_norm"] > 0, "it started at 0"
    merged, beside, *merging = found[f"{base}-sampling"]
    assert (merged["lora"], beside["lora"]) == ("merged", "beside")
    assert min(each["seconds"] for each in (merged, beside, *merging)) > 0
    assert len(merging) == (base == "zeroscope"), (
        "Wan's weights are in bf16, which are left as they are"
    )
    assert beside["peak_bytes"] >= merged["peak_bytes"]
    assert [each.get("lora") for each in values["compared"]] == [None, "merged", "beside"]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_steps(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compiler = torch.compile

    def watched(forward: Any, *, backend: str) -> Any:
        compiled.append(backend)
        return compiler(forward, backend=backend)

    monkeypatch.setattr(torch, "compile", watched)
    _, found = quick(monkeypatch, page, "zeroscope-compiled")
    (step,) = found["zeroscope-compiled"]
    assert step["compiled"]
    assert step["first_seconds"] > step["seconds"]
    assert set(compiled) == {"eager"}


def test_a_step_that_does_not_fit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = steps_of("wan", quick=False)
    monkeypatch.setattr(gpu_parts, "steps_of", lambda *how: wanted)

    def measure(step: Any, device: torch.device) -> dict[str, Any]:
        if step.recomputed == "none":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee …")
        return {"seconds": 2.0}

    monkeypatch.setattr(gpu_parts, "measure_step", measure)
    found: list[dict[str, Any]] = []
    gpu_parts.steps(found.append, "cpu", False, "wan")
    assert [each.get("seconds") for each in found] == [2.0, 2.0, 2.0, None, 2.0]
    assert found[3]["out_of_memory"] == "CUDA out of memory. Tried to allocate 2 GiB."


@pytest.mark.parametrize(
    ("printed", "driver"), [("580.1\n580.1\n", "580.1"), ("", None), (None, None)]
)
def test_the_driver_s_version_where_it_is_told(
    printed: str | None, driver: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(command: list[str], **options: Any) -> subprocess.CompletedProcess:
        if printed is None:
            raise FileNotFoundError
        return subprocess.CompletedProcess(command, 0, printed)

    monkeypatch.setattr(subprocess, "run", ask)
    assert gpu_parts._driver() == driver


def by_hand() -> dict[str, PartResult]:
    """Results of parts of which two fell short."""
    step = {"kind": "step", "base": "wan", "compiled": False, "precision": "bf16"}
    count = {"kind": "count", "base": "wan"}
    return {
        "card": PartResult(
            DONE,
            found=[
                {"kind": "rate", "precision": "no", "flops_per_second": 2e13},
                {"kind": "rate", "precision": "bf16", "flops_per_second": 4e14},
            ],
        ),
        "counts": PartResult(
            FAILED,
            found=[
                {
                    **count,
                    "name": "bf16 tangent full",
                    "flops": 5 * 10**14,
                    "peak_bytes": 8 * 2**30,
                },
                {
                    **count,
                    "name": "bf16 tangent none",
                    "flops": 4 * 10**14,
                    "peak_bytes": 64 * 2**30,
                },
            ],
            reason="RuntimeError: no",
        ),
        "wan": PartResult(
            "stopped",
            found=[
                {**step, "name": "bf16 tangent full", "seconds": 2.5, "peak_bytes": 10 * 2**30},
                {**step, "name": "bf16 tangent none", "out_of_memory": "CUDA out of memory."},
                {**step, "name": "bf16 tangent selective", "seconds": 3.0, "peak_bytes": 2**30},
            ],
            reason="stopped after 150 s, its time",
        ),
        "wan-training": PartResult(
            DONE,
            found=[
                {"kind": "training step", "base": "wan", "loss": 2e-6},
                {
                    **step,
                    "kind": "training",
                    "name": "bf16 tangent full",
                    "steps": 20,
                    "seconds": 5.0,
                    "losses": [2e-6, 1e-6],
                    "skipped_updates": 0,
                    "loss_scale": None,
                    "peak_bytes": 9 * 2**30,
                },
            ],
        ),
    }


def test_of_a_training_that_was_stopped_its_steps_count() -> None:
    step = {
        "kind": "training step",
        "base": "wan",
        "name": "bf16 tangent full",
        "precision": "bf16",
    }
    told = [
        {**step, "loss": loss, "gradient_norm": norm, "seconds": seconds}
        for loss, norm, seconds in [(4e-6, 1.0, 9.0), (3e-6, float("inf"), 5.0), (2e-6, 1.0, 5.0)]
    ]
    results = {**by_hand(), "wan-training": PartResult(STOPPED, found=told, reason="its time")}
    (training,) = [each for each in compare(results) if each["kind"] == "training"]
    assert (training["steps"], training["seconds"], training["skipped_updates"]) == (3, 5.0, 1)
    assert training["share_of_rate"] == 5e14 / 5.0 / 4e14
    text = "\n".join(paragraphs(results))
    assert "| wan | bf16 tangent full | 3 | 5 | 4.000e-06 | 2.000e-06 | 1 |" in text


def test_an_update_that_fp16_skips_loses_nothing(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gradient is infinite, which JSON has no number for."""
    what = {"kind": "training step", "base": "wan", "name": "", "precision": "fp16"}
    overflowed = {**what, "loss": 2e-6, "gradient_norm": float("inf"), "seconds": 1.0}
    failed = {"kind": "step", "base": "wan", "name": "", "all_seconds": [float("nan")]}
    found: list[dict[str, Any]] = [overflowed, failed]

    def run_parts(
        parts: Sequence[Part],
        options: Mapping[str, Any],
        seconds: float,
        on_change: Callable[[Mapping[str, PartResult]], None],
        start_method: str,
    ) -> dict[str, PartResult]:
        results = {"zeroscope-training": PartResult(RUNNING, found=found)}
        on_change(results)
        assert file.is_file(), "it is kept while parts run"
        return results

    file = page.with_suffix(".json")
    monkeypatch.setattr(gpu, "run_parts", run_parts)
    monkeypatch.setattr(gpu, "paragraphs", lambda results: [])
    arguments = ["--quick", "--results", page, "--json", file, "--parts", "zeroscope-training"]
    assert run_script(monkeypatch, gpu.main, *arguments) == 0
    values = json.loads(file.read_text())
    step, timed = values["parts"]["zeroscope-training"]["found"]
    assert step == {**overflowed, "gradient_norm": None}
    assert timed["all_seconds"] == values["compared"][0]["all_seconds"] == [None]


def test_shares_and_ratios_by_hand() -> None:
    full, none, selective, trained = compare(by_hand())
    # 5e14 FLOPs in 2.5 s are 2e14 a second, half of 4e14; 10 GiB of 8 counted.
    assert full["share_of_rate"] == pytest.approx(0.5)
    assert full["peak_of_estimate"] == pytest.approx(1.25)
    assert "share_of_rate" not in none
    assert none["flops"] == 4 * 10**14
    assert "flops" not in selective, "it was not counted"
    assert (trained["share_of_rate"], trained["peak_of_estimate"]) == (0.25, 9 / 8)


def test_tables_by_hand() -> None:
    products, steps, training, lacking = paragraphs(by_hand())
    assert "| bf16 | 400 |" in products
    assert "| wan | bf16 tangent full |  | 2.5 | 500 | 0.5 | 10 | 1.25 |" in steps
    assert "| wan | bf16 tangent none |  | out of memory | 400 |  |  |  |" in steps
    assert "| wan | bf16 tangent selective |  | 3 |  |  | 1 |  |" in steps
    row = "| wan | bf16 tangent full | 20 | 5 | 2.000e-06 | 1.000e-06 | 0 |  | 9 | 1.125 |"
    assert row in training
    assert "| wan | stopped | 3 | stopped after 150 s, its time |" in lacking
    assert "| counts | failed | 2 | RuntimeError: no |" in lacking
    assert "| card |" not in lacking


def test_names_of_cases_are_their_own() -> None:
    for base in ("zeroscope", "wan"):
        names = [step.name for step in steps_of(base, quick=False)]
        assert len(set(names)) == len(names)
        compiled = [step.name for step in steps_of(base, quick=False, compiled=True)]
        assert set(compiled) <= set(names), "what is compiled is counted, and measured uncompiled"


def test_what_matters_most_begins_in_time() -> None:
    """The first parts, up to training, end before the eight minutes do, even at their limits."""
    first = [gpu.PARTS[name] for name in ("card", "zeroscope", "wan", "zeroscope-training")]
    assert sum(part.limit_s for part in first) < 8 * 60
    assert list(gpu.PARTS)[:2] == ["card", "counts"]


def test_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert run_script(monkeypatch, gpu.main) == 2
    assert capsys.readouterr().err == (
        "error: benchmarks.gpu needs a CUDA GPU, and there is none here: --quick tries the program on a "
        "CPU.\n"
    )
    assert run_script(monkeypatch, gpu.main, "--device", "cpu") == 2
    assert "--device cpu: benchmarks.gpu needs a CUDA GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--parts", "cards"], "invalid choice: 'cards'"),
        (["--minutes", "0"], "'0' is not a whole number from 1 to 1440"),
    ],
)
def test_wrong_flags(
    flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run_script(monkeypatch, gpu.main, *flags) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_all_parts_writes_its_section(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "choose_card", lambda name, quick: "cpu")
    monkeypatch.setattr(gpu, "run_parts", lambda *how: by_hand())
    assert run_script(monkeypatch, gpu.main, "--results", page) == 0
    section = find_section(page.read_text(), gpu.TITLE)
    assert section is not None
    assert "| wan | bf16 tangent full |" in section[0]
    capsys.readouterr()
    assert run_script(monkeypatch, gpu.main, "--results", page, "--parts", "wan", "card") == 0
    assert section[0] in page.read_text(), "a run of some parts leaves the section of all"


def test_the_shipped_page_says_whether_a_gpu_has_run(tmp_path: Path) -> None:
    page = shutil.copy(PROJECT / "benchmarks" / "RESULTS.md", tmp_path)
    section = find_section(Path(page).read_text(), gpu.TITLE)
    assert section is not None
    assert (gpu.NOT_MEASURED in section[0]) != ("Training steps" in section[0])
