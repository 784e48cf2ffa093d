"""Fine-tune a text-to-video model's LoRA on the motion of one reference clip."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from motionmatcher.command_line import (
    INTERRUPTED,
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.paths import user_path

if TYPE_CHECKING:
    import torch

    from motionmatcher.training.checks import TrainingPlan


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--config", type=user_path, metavar="FILE", help="settings of a new run (YAML)"
    )
    source.add_argument(
        "--resume", type=user_path, metavar="RUN", help="continue a run or checkpoint folder"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change settings, e.g. train_data.width=256",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything; read no weights, write nothing"
    )
    parser.add_argument(
        "--maps",
        action="store_true",
        help="when done, draw what the motion features see in the clip: RUN/maps (docs/maps.md)",
    )
    add_json_argument(parser)
    arguments = parser.parse_intermixed_args()
    if arguments.maps and arguments.dry_run:
        parser.error("--maps reads weights, and --dry-run reads none: drop one of them.")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    from motionmatcher.devices import choose_device
    from motionmatcher.files import write_json
    from motionmatcher.reporting import is_main_process
    from motionmatcher.training.planning import plan_resumed_training, plan_training

    device = choose_device(arguments.device)
    make_plan = plan_training if arguments.config else plan_resumed_training
    plan = make_plan(
        arguments.config or arguments.resume,
        arguments.overrides,
        device=device,
        dry_run=arguments.dry_run,
    )
    if arguments.maps:
        from motionmatcher.maps.plan import check_layers

        check_layers(plan.settings, plan.layout)
    remove_unfinished_outputs(arguments)
    if arguments.dry_run:
        return dry_run(plan, device, arguments.json)
    from motionmatcher.training.assembly import start_training

    run = start_training(plan, device)
    if not run.finished:
        return INTERRUPTED
    if is_main_process():
        print(f"finished: {run.folder}")
        if arguments.json:
            write_json(arguments.json, {"run": str(run.folder), "finished": run.finished})
        if arguments.maps:
            from motionmatcher.maps.plan import plan_maps
            from motionmatcher.maps.writing import write_maps

            print(f"look at: {write_maps(plan_maps(run.folder), device).page}")
    return 0


def dry_run(plan: "TrainingPlan", device: "torch.device", json_file: Path | None) -> int:
    """Print what a run will be and what it will cost, and refuse what does not fit."""
    from motionmatcher.cost.estimate import check_least_memory, check_preview_memory, estimate_run
    from motionmatcher.cost.step import UncountableError
    from motionmatcher.errors import UserError
    from motionmatcher.files import write_json
    from motionmatcher.reporting import is_main_process

    check_least_memory(plan.layout, plan.settings, device)
    for name, (height, width) in plan.sizes.items():
        print(f"{name.replace('_', ' ')}: {height}x{width}")
    notes = plan.notes
    try:
        cost = estimate_run(plan.layout, plan.settings, device, plan.objective)
        print(*cost.lines(), sep="\n")
    except UncountableError as error:
        cost, notes = None, (*notes, str(error))
    for note in notes:
        print(f"note: {note}")
    if json_file and is_main_process():
        write_json(json_file, {**plan.sizes, **(cost.values() if cost else {})})
    if cost and not cost.fits(cost.chosen):
        raise UserError(cost.refusal())
    check_preview_memory(plan.layout, plan.settings, device)
    print("dry run: all checks passed; nothing was read or written.")
    return 0


if __name__ == "__main__":
    run(main)
