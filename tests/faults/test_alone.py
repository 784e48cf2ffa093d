"""The programs stay on this machine and run nothing that a file brings along."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import PROJECT, write_config
from processes import start

from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_pickle

# Every socket is noticed, and every look for a host but this one. On import urllib3 would open one to see
# whether there is IPv6, and send nothing.
WITHOUT_NETWORK = """
import json, runpy, socket, sys
socket.has_ipv6 = False
def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        raise SystemExit(f"opened a socket: {event} {arguments}")
sys.addaudithook(refuse)
for sys.argv in json.loads(sys.argv[1]):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


def run_without_network(*commands: list[Any]) -> subprocess.CompletedProcess[str]:
    """Run scripts, one after the other, that end at the first socket.

    The switches that keep libraries offline are left out.
    """
    environment = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, json.dumps(commands, default=str)],
        cwd=PROJECT,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_socket_would_be_noticed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import socket; socket.socket()")
    assert "opened a socket: socket.__new__" in run_without_network([script]).stderr


def test_training_and_inference_with_a_local_base_open_no_socket(
    trained: Run, tmp_path: Path, run_values: dict[str, Any]
) -> None:
    values = {
        **run_values,
        "output_dir": str(tmp_path / "runs"),
        "max_train_steps": 1,
        "validation_data": {"num_inference_steps": 1, "noise_prior": 0},
    }
    config = write_config(tmp_path / "config.yaml", values)
    one_video = ["-p", "A dog.", "-rn", "1", "-s", "1", "-np", "0", "-o", tmp_path / "videos"]
    finished = run_without_network(
        ["train.py", "--config", config, "--device", "cpu"],
        ["inference.py", "-cf", trained.folder, "--device", "cpu", *one_video],
    )
    assert finished.returncode == 0, finished.stderr
    assert len(list((tmp_path / "runs").glob("*/checkpoint-1"))) == 1
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 1


class _Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.file,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_a_pickle_runs_nothing(tmp_path: Path, form: str, protocol: int) -> None:
    touched, file = tmp_path / "touched", tmp_path / "400_unet.pt"
    if form == "zip":
        torch.save([_Bomb(touched)], file, pickle_protocol=protocol)
    else:
        file.write_bytes(pickle.dumps([_Bomb(touched)], protocol))
    with pytest.raises(UserError, match=r"400_unet\.pt") as error:
        read_pickle(file)
    assert len(str(error.value).splitlines()) == 1
    assert not touched.exists()
    pickle.loads(pickle.dumps(_Bomb(touched), protocol))
    assert touched.exists(), "a bomb that does not go off proves nothing"


def test_inference_runs_nothing_of_a_published_file(base_folder: Path, tmp_path: Path) -> None:
    lora = tmp_path / "run" / "checkpoint-4" / "lora"
    lora.mkdir(parents=True)
    torch.save([_Bomb(tmp_path / "touched")], lora / "4_unet.pt")
    (tmp_path / "run" / "cached_latents").mkdir()
    torch.save(
        {"latents": _Bomb(tmp_path / "touched")}, tmp_path / "run/cached_latents/cached_0.pt"
    )
    arguments = ["-cf", tmp_path / "run", "-m", base_folder, "-p", "A dog."]
    arguments += ["-W", 32, "-H", 32, "-d", "cpu", "-o", tmp_path / "videos"]
    program = start(tmp_path / "log.txt", "inference", *arguments)
    assert program.wait() == 2
    assert len([line for line in program.output.splitlines() if "error" in line]) == 1
    assert "Traceback" not in program.output
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "videos").exists()
