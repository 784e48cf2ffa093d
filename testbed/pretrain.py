"""Make the Moving Shapes base from nothing: autoencoder, small CLIP, latents, denoiser.

    python -m testbed.pretrain --config testbed/moving_shapes.yaml [--resume]

goes from stage to stage, checks each stage's gate, and exports the base after each stage of the
denoiser. It can be stopped at any time; --resume goes on from the last checkpoint, and where the states
are lost, --restore from the exported base.
"""

from typing import TYPE_CHECKING

from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.errors import UserError
from motionmatcher.paths import input_path
from motionmatcher.text_files import read_json

if TYPE_CHECKING:
    from testbed.config import PretrainConfig


def main() -> int:
    """Parse the command line and run it."""
    parser = ArgumentParser(prog="python -m testbed.pretrain", description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=input_path, required=True, help="YAML with the settings")
    parser.add_argument("--resume", action="store_true", help="go on from the saved states")
    parser.add_argument(
        "--export", action="store_true", help="only write the weights as they are now"
    )
    parser.add_argument(
        "--restore",
        action="store_true",
        help="the states are lost: make them again from the exported base, as far as its stages are "
        "finished, then go on",
    )
    parser.add_argument(
        "--ignore_gates", action="store_true", help="go on although a stage fell short"
    )
    arguments = parser.parse_args()

    from testbed.config import load_config

    config = load_config(arguments.config)
    if arguments.restore:
        from testbed.restore import restore_states

        print(f"restored: {', '.join(restore_states(config))}")
    has_state = config.state_dir.is_dir() and any(config.state_dir.iterdir())
    if has_state and not (arguments.resume or arguments.restore or arguments.export):
        raise UserError(
            f"{config.state_dir} holds the state of an earlier training: give --resume to go on "
            "with it, or move it away"
        )
    import torch

    torch.set_num_threads(config.num_threads)
    if arguments.export:
        export_all(config)
    else:
        pretrain(config, arguments.ignore_gates)
    return 0


def pretrain(config: "PretrainConfig", ignore_gates: bool = False) -> None:
    """Run every stage that is not complete yet, in order, and export the base after each.

    Args:
        config: The settings.
        ignore_gates: Go on although a stage fell short.

    Raises:
        UserError: A stage fell short.
    """
    from motionmatcher.files import write_json
    from testbed.denoiser import latest_stage
    from testbed.gates import require
    from testbed.recipe import gate_path, list_stages
    from testbed.stage import steps_done

    for stage in list_stages(config):
        gate = gate_path(config, stage.name)
        if steps_done(stage.state) < stage.num_steps:
            gate.unlink(missing_ok=True)
            stage.train()
        if not gate.is_file():
            write_json(gate, stage.measure())
        values: dict[str, float] = read_json(gate)
        print(f"{stage.name}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()))
        if latest_stage(config) is not None:
            export_all(config)
        if not ignore_gates:
            require(stage.name, values)


def export_all(config: "PretrainConfig") -> None:
    """Write the base and the small CLIP as they are now."""
    from testbed.export import export_base, export_clip

    if config.text is not None:
        print(export_clip(config))
    print(export_base(config))


if __name__ == "__main__":
    run(main)
