"""How the window is opened, or why not."""

import subprocess
import sys

import pytest
from launching import PROJECT, run_script

from motionmatcher.app import __main__ as app
from motionmatcher.app.__main__ import HOST, free_port
from motionmatcher.errors import UserError


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['app', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('motionmatcher.app', run_name='__main__')\n"
        "heavy = {'torch', 'gradio', 'numpy', 'cv2', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "--port" in result.stdout


def test_without_gradio_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert run_script(monkeypatch, app.main) == 2
    assert capsys.readouterr().err == (
        "error: the window needs gradio, which is not installed: in the project's folder, "
        'python -m pip install --constraint constraints.txt --editable ".[app]"\n'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "none.yaml"], "none.yaml"),
        (["--outputs", __file__], "is a file; choose another folder"),
        (["--port", "70000"], "'70000' is not a whole number from 0 to 65535"),
    ],
)
def test_bad_flags_are_one_line_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: True)
    assert run_script(monkeypatch, app.main, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_named() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=f"--port {port} cannot be used: Address already in use"
        ):
            free_port(port)
    assert free_port(0) > 0
