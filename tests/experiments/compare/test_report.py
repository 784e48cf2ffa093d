"""RESULTS.md, from rows made up by hand."""

import json
from pathlib import Path

import pytest
from comparison_examples import REPORT_MOTIONS, make_row, report_rows

from experiments.compare.report import SMALL_TRIAL, write_results
from experiments.compare.rows import Row
from motionmatcher.paths import PROJECT


def results(folder: Path, rows: list[Row]) -> str:
    """RESULTS.md, without drawing the pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.compare.report.write_pictures", lambda *_: None)
        write_results(folder, rows, None)
    return (folder / "RESULTS.md").read_text(encoding="utf-8")


def table_row(text: str, heading: str, first: str) -> list[str]:
    """The cells of the first line that begins so after a heading."""
    lines = text[text.index(heading) :].splitlines()
    line = next(line for line in lines if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_results_say_the_claim_and_all_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made.json").write_text(json.dumps({"machine": "a small one"}))
    rows = report_rows()
    rows += [
        make_row("tuning", "base", "tuned", learning_rate=float("nan")),
        make_row("decide loss", "feature_matching", "tuned", changes="feature_loss=log", step=50),
    ]
    write_results(tmp_path, rows, tmp_path / "claim.json")
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for line in (
        "- (a) feature matching moves better than the base and than the noise prior alone: **yes**, "
        "8 of 8 parts.",
        "- (b) open, feature matching leaks less than each pixel loss at equal path error: **yes**, "
        "1 of 1 parts.",
        "- (c) gated, feature matching moves no worse than each pixel loss: **yes**, 2 of 2 parts.",
    ):
        assert line in text
        assert line in printed
    assert SMALL_TRIAL not in text
    assert f"written: {tmp_path / 'RESULTS.md'}" in printed
    assert "| machine | a small one |" in text
    assert table_row(text, "## Gated, full captions", "denoising loss + noise prior 0.3")[:3] == [
        "denoising loss + noise prior 0.3",
        "100",
        "9.00 [9.00, 9.00]",
    ]
    assert table_row(text, "## Open, unsaid captions", "resting object")[1:3] == [
        "0",
        "16.00 [16.00, 16.00]",
    ]
    assert table_row(text, "## Path error by motion", "denoising loss (open, unsaid)")[1:] == (
        ["10.0"] * 4
    )
    assert table_row(text, "## Decisions", "loss")[1] == "feature_loss=log"
    assert table_row(text, "## Tuning", "feature matching")[1:5] == [
        "gated",
        "0.002",
        "100",
        "900.00",
    ]
    assert "nan" not in text
    assert "inf" not in text
    for name in ("gated_full", "open_unsaid"):
        assert f"({name}.png)" in text
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    content = json.loads((tmp_path / "claim.json").read_text())
    assert content["made"] == {"machine": "a small one"}
    assert len(content["parts"]) == 11
    assert content["parts"][0]["holds"] is True


def test_curves_stand_under_their_own_steps(tmp_path: Path) -> None:
    rows = [
        row
        for row in report_rows()
        if (row.stage, row.method, row.step) != ("report", "denoising", 50)
    ]
    text = results(tmp_path, rows)
    header = table_row(text, "Over the training", "method")
    assert header == ["method", "base", "50 steps", "100 steps", "area, px"]
    curve = table_row(text, "Over the training", "denoising loss")
    assert curve[2] == ""
    assert curve[3] == "10.0 [10.0, 10.0], 0.500 [0.500, 0.500]"


def test_a_letter_without_parts_is_not_asked(tmp_path: Path) -> None:
    rows = [row for row in report_rows() if row.regime != "open"]
    text = results(tmp_path, rows)
    assert "at equal path error: **not asked**, 0 of 0 parts." in text
    assert "than each pixel loss: **yes**, 2 of 2 parts." in text
    assert "## Open" not in text


def test_one_part_that_fails_fails_its_letter(tmp_path: Path) -> None:
    rows = report_rows({("feature_matching", "gated", 100, 0.3): {"path_error": 12.0}})
    assert "than each pixel loss: **no**, 1 of 2 parts." in results(tmp_path, rows)


def test_few_motions_are_a_trial(tmp_path: Path) -> None:
    rows = [row for row in report_rows() if row.motion not in REPORT_MOTIONS[:1]]
    assert SMALL_TRIAL in results(tmp_path, rows)


def test_what_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    rows = report_rows()
    for row in rows:
        row.metrics["camera_error"] = float("nan")  # type: ignore[index]
    cells = table_row(results(tmp_path, rows), "## Gated, full captions", "base")
    assert cells[6] == "–"


def test_the_rules_are_found_from_wherever_the_results_are(
    tmp_path: Path,
) -> None:
    text = results(tmp_path / "deep" / "results", report_rows())
    link = text.partition("[docs/comparison.md](")[2].partition(")")[0]
    assert (tmp_path / "deep/results" / link).resolve() == PROJECT / "docs/comparison.md"
