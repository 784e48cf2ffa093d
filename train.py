"""Fine-tune a text-to-video model's LoRA on the motion of one reference clip."""

from pathlib import Path
from typing import TYPE_CHECKING

from motionmatcher.command_line import (
    INTERRUPTED,
    ArgumentParser,
    add_json_argument,
    prepare_outputs,
    run,
)
from motionmatcher.paths import user_path

if TYPE_CHECKING:
    import torch

    from motionmatcher.training.checks import TrainingPlan


def parse_arguments():
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
    add_json_argument(parser)
    return parser.parse_intermixed_args()


def main() -> int:
    arguments = parse_arguments()
    from motionmatcher.config.loading import load_settings
    from motionmatcher.cost.estimate import check_memory
    from motionmatcher.devices import choose_device, is_main_process
    from motionmatcher.files import write_json
    from motionmatcher.runs.run_folder import find_resumable
    from motionmatcher.training.assembly import start_training
    from motionmatcher.training.checks import check_training
    from motionmatcher.training.resuming import plan_resuming

    resume = None
    if arguments.config:
        settings = load_settings(arguments.config, arguments.overrides)
        if settings.resume_from_checkpoint:
            resume = find_resumable(settings.resume_from_checkpoint, settings.output_dir)
    else:
        resume = find_resumable(str(arguments.resume))
    device = choose_device(arguments.device)
    if resume:
        plan = plan_resuming(resume, arguments.overrides, arguments.dry_run)
    else:
        plan = check_training(settings, resuming=False, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        check_memory(plan.layout, plan.settings, device)
    prepare_outputs(arguments)

    if arguments.dry_run:
        return dry_run(plan, device, arguments.json)
    finished_run, finished = start_training(plan, device, resume)
    if not finished:
        return INTERRUPTED
    if is_main_process():
        print(f"finished: {finished_run.folder}")
        if arguments.json:
            write_json(arguments.json, {"run": str(finished_run.folder), "finished": finished})
    return 0


def dry_run(plan: "TrainingPlan", device: "torch.device", json_file: Path | None) -> int:
    """Print what a run will be and what it will cost, and refuse what does not fit."""
    from motionmatcher.cost.estimate import check_least_memory, check_preview_memory, estimate_run
    from motionmatcher.devices import is_main_process
    from motionmatcher.errors import UserError
    from motionmatcher.files import write_json

    check_least_memory(plan.layout, plan.settings, device)
    sizes = {
        "latent_size": plan.latent_size,
        "cross_attention_map_size": plan.cross_size,
        "temporal_attention_map_size": plan.temporal_size,
    }
    for name, (height, width) in sizes.items():
        print(f"{name.replace('_', ' ')}: {height}x{width}")
    cost = estimate_run(plan.layout, plan.settings, device)
    print(*cost.lines(), sep="\n")
    for note in plan.notes:
        print(f"note: {note}")
    if json_file and is_main_process():
        write_json(json_file, {**sizes, **cost.figures()})
    if not cost.fits(cost.chosen):
        raise UserError(cost.refusal())
    check_preview_memory(plan.layout, plan.settings, device)
    print("dry run: all checks passed; nothing was read or written.")
    return 0


if __name__ == "__main__":
    run(main)
