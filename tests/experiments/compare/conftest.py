"""The shipped comparison, cut down to two methods and a cell or two of each kind."""

import dataclasses
from pathlib import Path

import pytest
from launching import PROJECT

from experiments.compare.config import (
    ComparisonConfig,
    DecisionConfig,
    GridConfig,
    load_comparison,
)

METHODS = ["denoising", "feature_matching"]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> ComparisonConfig:
    """What ships, read where its paths lead."""
    monkeypatch.chdir(PROJECT)
    return load_comparison(Path("experiments/compare/unet.yaml"))


@pytest.fixture
def config(full: ComparisonConfig, tmp_path: Path) -> ComparisonConfig:
    """One motion, one decision of two options, one learning rate, two conditions: 12 cells."""
    grids = [
        GridConfig(methods=METHODS, regime=regime, learning_rates=[3e-3], steps=[50, 100])
        for regime in ("gated", "open")
    ]
    decision = DecisionConfig(name="loss", options=[["feature_loss=squared"], ["feature_loss=log"]])
    return dataclasses.replace(
        full,
        cells_dir=str(tmp_path / "cells"),
        results_dir=str(tmp_path / "results"),
        prompts=full.prompts[:2],
        decide=dataclasses.replace(full.decide, steps=50, decisions=[decision]),
        tuning=dataclasses.replace(full.tuning, motions=["swing"], grids=grids, inside=False),
        report=dataclasses.replace(full.report, motions=["spiral"], curve_steps=[50]),
    )
