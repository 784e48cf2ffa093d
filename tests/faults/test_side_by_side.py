"""Programs that write into one folder at the same time lose nothing."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from launching import write_config
from processes import SlowFiles, StandStill, WaitForAll, barrier, start

from motionmatcher.clips.video import read_video
from motionmatcher.config.loading import load_settings
from motionmatcher.runs.run_folder import Run

SIDE_BY_SIDE = 3


def test_runs_of_one_second_get_folders_of_their_own(
    tmp_path: Path, quick_values: dict[str, Any]
) -> None:
    runs = tmp_path / "runs"
    together = barrier(SIDE_BY_SIDE)
    programs = []
    for seed in range(SIDE_BY_SIDE):
        values = {
            **quick_values,
            "seed": seed,
            "output_dir": str(runs),
            "max_train_steps": 1,
            "validation_data": {"sample_preview": False, "noise_prior": 0},
        }
        config = write_config(tmp_path / f"config-{seed}.yaml", values)
        programs.append(
            start(
                tmp_path / f"log-{seed}.txt",
                "train",
                *("--config", config, "--device", "cpu"),
                disturbances=[StandStill(), SlowFiles(runs), WaitForAll(together)],
            )
        )
    for program in programs:
        assert program.wait() == 0, program.output
    folders = sorted(runs.iterdir())
    assert len(folders) == SIDE_BY_SIDE
    assert {load_settings(folder / "config.yaml").seed for folder in folders} == {0, 1, 2}
    for folder in folders:
        assert Run(folder).checkpoint_steps() == [1]
        assert len(list(folder.glob("logs/*/events.*"))) == 1


def test_inferences_into_one_folder_lose_nothing(trained: Run, tmp_path: Path) -> None:
    """The same videos by all: every name, entry and contact sheet is fought for."""
    folder = tmp_path / "videos"
    together = barrier(SIDE_BY_SIDE)
    arguments = ("-cf", trained.folder, "-p", "A circle.", "-d", "cpu", "-rn", 2, "-o", folder)
    programs = [
        start(
            tmp_path / f"log-{index}.txt",
            "inference",
            *(*arguments, "--gif", "--json", tmp_path / f"results-{index}.json"),
            disturbances=[SlowFiles(folder), WaitForAll(together)],
        )
        for index in range(SIDE_BY_SIDE)
    ]
    for program in programs:
        assert program.wait() == 0, program.output
    entries = json.loads((folder / "manifest.json").read_text())["videos"]
    names = [entry["file"] for entry in entries]
    assert len(set(names)) == len(names) == 2 * SIDE_BY_SIDE
    assert Counter(entry["seed"] for entry in entries) == {0: SIDE_BY_SIDE, 1: SIDE_BY_SIDE}
    assert {path.name for path in folder.glob("*.mp4")} == set(names)
    assert {path.with_suffix(".mp4").name for path in folder.glob("*.gif")} == set(names)
    assert all(len(read_video(folder / name)[0]) == 4 for name in names)
    assert len(list(folder.glob("contact_sheet*.png"))) == SIDE_BY_SIDE
    told = [json.loads((tmp_path / f"results-{i}.json").read_text()) for i in range(SIDE_BY_SIDE)]
    assert sorted(video["file"] for one in told for video in one["videos"]) == sorted(names)
    leftovers = {path.name for path in folder.iterdir()} - {".manifest.lock", "manifest.json"}
    assert all(name.endswith((".mp4", ".gif", ".png")) for name in leftovers), leftovers
    assert not [name for name in leftovers if name.startswith(".")]
