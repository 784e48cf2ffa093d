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
from testbed.random_base import SMALL, write_random_base

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


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller than the other tests' base, for many videos are sampled here."""
    sizes = {
        **SMALL,
        "unet": {
            **SMALL["unet"],
            "block_out_channels": (32,),
            "down_block_types": ("CrossAttnDownBlock3D",),
            "up_block_types": ("CrossAttnUpBlock3D",),
        },
        "vae": {**SMALL["vae"], "block_out_channels": (4, 4, 4, 4), "norm_num_groups": 2},
    }
    return write_random_base(tmp_path_factory.mktemp("tiny_base"), sizes)
