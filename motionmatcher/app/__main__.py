"""Open the window: `python -m motionmatcher.app`."""

import os
import socket
import tempfile
import threading
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.config.bounds import whole_number
from motionmatcher.errors import UserError, reason_of
from motionmatcher.paths import input_path, user_path

HOST = "127.0.0.1"
PORT = 7860
DEFAULT_CONFIG = "configs/moving_shapes_wan.yaml"


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(
        prog="python -m motionmatcher.app",
        description="A page in the browser, for this machine alone: clip, training, videos, download.",
    )
    parser.add_argument(
        "--port",
        type=whole_number(0, 65535),
        default=PORT,
        help=f"of {HOST}; 0 takes any that is free (default: {PORT})",
    )
    parser.add_argument(
        "--config",
        type=input_path,
        default=input_path(DEFAULT_CONFIG),
        metavar="FILE",
        help="settings that the page begins with (YAML); it offers those in configs/ besides "
        f"(default: {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--outputs",
        type=user_path,
        default=Path("outputs"),
        metavar="DIR",
        help="runs are looked for in here, and made in its folder app/ (default: outputs)",
    )
    return parser


def main() -> None:
    """Parse, open, wait for the end."""
    arguments = make_parser().parse_args()
    if find_spec("gradio") is None:
        raise UserError(
            "the window needs gradio, which is not installed: in the project's folder, "
            'python -m pip install --constraint constraints.txt --editable ".[app]"'
        )
    from motionmatcher.app.commands import read_form_settings
    from motionmatcher.files import check_writable

    check_writable(arguments.outputs, "--outputs")
    read_form_settings(arguments.config)
    port = free_port(arguments.port)
    # Read when gradio is imported: it would tell its makers of every start.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    with tempfile.TemporaryDirectory(prefix="motionmatcher-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        serve(arguments.config, arguments.outputs, port)


def free_port(port: int) -> int:
    """Find out whether a port of this machine is free, or which is.

    Args:
        port: 0 for any.

    Raises:
        UserError: It is taken, or not for everyone.
    """
    with closing(socket.socket()) as probe:
        # What was closed a moment ago is free, as the server sees it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"--port {port} cannot be used: {reason_of(error)}; choose another, or 0 for any."
            ) from error
        return probe.getsockname()[1]


def serve(config: Path, outputs: Path, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM; a training that runs then saves first."""
    from motionmatcher.app.page import make_page, open_page
    from motionmatcher.app.workshop import Workshop

    workshop = Workshop(outputs)
    page = make_page(workshop, config)
    try:
        open_page(page, workshop, HOST, port)
        print(f"open http://{HOST}:{port} in a browser; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        if workshop.is_busy:
            print("ending what runs; a training saves first …", flush=True)
        workshop.close()
        page.close(verbose=False)


if __name__ == "__main__":
    run(main)
