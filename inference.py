"""Generate videos that move as a run's reference clip does."""

import argparse
from typing import TYPE_CHECKING

from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.config.settings import INFERENCE_DIR, PRECISIONS, PUBLISHED_REPEATS, SCHEDULERS
from motionmatcher.paths import expand_home, user_path

if TYPE_CHECKING:
    from motionmatcher.generation.generate import GenerationRequest

# What errors call the options of `make_request`.
FLAGS = {
    "run": "--checkpoint_folder",
    "prompts": "--prompt",
    "checkpoint": "--checkpoint_index",
    "lora_rank": "--lora_rank",
    "lora_scale": "--lora_scale",
    "min_timestep": "--min_timestep",
    "width": "--width",
    "height": "--height",
    "num_frames": "--num-frames",
    "num_steps": "--num-steps",
    "guidance_scale": "--guidance-scale",
    "noise_prior": "--noise_prior",
    "noise_clip": "--noise_clip",
    "seed": "--seed",
    "repeat_num": "--repeat_num",
    "batch_size": "--batch-size",
    "mixed_precision": "--mixed_precision",
    "fps": "--fps",
    "output_dir": "--output_dir",
}


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(
        description=__doc__,
        epilog="What a run knows of itself (base, size, frames, steps, noise prior, …) is the default; "
        "checkpoint, noise prior and LoRA scale are those of its choice.json, if there is one "
        "(python -m experiments.choose).",
    )
    text = parser.add_argument_group("what to show")
    text.add_argument(
        "-p",
        "--prompt",
        dest="prompts",
        metavar="PROMPT",
        action="append",
        default=[],
        help="may be given several times",
    )
    text.add_argument(
        "--prompts",
        dest="prompts_file",
        type=user_path,
        metavar="FILE",
        help="a text file with one prompt a line",
    )
    text.add_argument("-n", "--negative-prompt", help="what guidance leads away from")

    trained = parser.add_argument_group("the trained run, or a motion pack of one")
    source = trained.add_mutually_exclusive_group(required=True)
    source.add_argument("-cf", "--checkpoint_folder", dest="run", type=user_path, metavar="RUN")
    source.add_argument(
        "--pack",
        type=user_path,
        metavar="DIR",
        help="a folder that python -m motionmatcher.pack wrote",
    )
    trained.add_argument(
        "-ci",
        "--checkpoint_index",
        dest="checkpoint",
        metavar="STEP",
        type=int,
        help="default: the last",
    )
    trained.add_argument("-m", "--model", type=expand_home, help="base model: folder or hub id")
    trained.add_argument(
        "-ma",
        "--motion_adapter",
        type=expand_home,
        help="of a base that is a Stable Diffusion: folder or hub id",
    )
    trained.add_argument("-lr", "--lora_rank", type=int, help="only checked against the checkpoint")
    trained.add_argument("-ls", "--lora_scale", type=float, help="0 is the base model")
    trained.add_argument("-mn", "--min_timestep", type=int, help="lowest timestep with the LoRA on")

    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("-W", "--width", type=int, help="pixels")
    sampling.add_argument("-H", "--height", type=int, help="pixels")
    sampling.add_argument("-T", "--num-frames", type=int)
    sampling.add_argument("-s", "--num-steps", type=int, help="steps of sampling")
    sampling.add_argument(
        "--scheduler", choices=SCHEDULERS, help="ddim as published; the others need fewer steps"
    )
    sampling.add_argument("-g", "--guidance-scale", type=float, help="1 is off")
    sampling.add_argument(
        "-np", "--noise_prior", type=float, help="share of the reference's noise, 0 to 1"
    )
    sampling.add_argument(
        "--noise_clip",
        metavar="NAME_OR_INDEX",
        help="of a run with several clips, whose noise; default: one drawn for each video by its seed",
    )
    sampling.add_argument(
        "-r", "--seed", type=int, help="of each prompt's first video; default: the previews'"
    )
    sampling.add_argument(
        "-rn", "--repeat_num", type=int, help=f"videos per prompt ({PUBLISHED_REPEATS})"
    )
    sampling.add_argument("-B", "--batch-size", type=int, help="videos at a time (1)")

    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output_dir", type=user_path, help=f"default: {INFERENCE_DIR}")
    output.add_argument("-f", "--fps", type=float, help="frames per second")
    output.add_argument("--gif", action="store_true", help="write a GIF beside each video")
    add_json_argument(output)

    machine = parser.add_argument_group("machine")
    machine.add_argument("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    machine.add_argument("--mixed_precision", choices=PRECISIONS, help="default: as trained")
    machine.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="torch.compile the denoiser's layers: pays on CUDA for many videos",
    )
    machine.add_argument(
        "--vae_tiling",
        action=argparse.BooleanOptionalAction,
        help="encode and decode in tiles: less memory, slightly other numbers",
    )
    machine.add_argument("-x", "--xformers", action="store_true", help="without effect")
    machine.add_argument("-S", "--sdp", action="store_true", help="without effect")
    return parser.parse_args()


def request_of(arguments: argparse.Namespace) -> "GenerationRequest":
    """Check the flags and fill in what the run knows, before any weight is read."""
    from motionmatcher.errors import UserError
    from motionmatcher.generation.request import GenerationOptions, make_request
    from motionmatcher.prompts import read_prompts
    from motionmatcher.runs.pack_folder import Pack

    prompts = list(arguments.prompts)
    if arguments.prompts_file is not None:
        prompts += read_prompts(arguments.prompts_file)
    if not prompts:
        raise UserError('no prompt: give --prompt "…", or --prompts FILE with one prompt a line.')
    options = {name: getattr(arguments, name) for name in GenerationOptions.__annotations__}
    source = arguments.run if arguments.pack is None else Pack.open(arguments.pack)
    return make_request(source, prompts, FLAGS, **options)


def main() -> None:
    arguments = parse_arguments()
    request = request_of(arguments)
    from motionmatcher.devices import choose_device
    from motionmatcher.files import write_json
    from motionmatcher.generation.generate import generate
    from motionmatcher.reporting import is_main_process, note

    if arguments.xformers or arguments.sdp:
        note("--xformers and --sdp do nothing: PyTorch's fused attention is always used.")
    device = choose_device(arguments.device)
    remove_unfinished_outputs(arguments)
    videos = generate(request, device)
    if not is_main_process():
        return
    for video in videos:
        print(video.path)
    if arguments.json:
        entries = [video.entry for video in videos]
        write_json(arguments.json, {"output_dir": str(request.output_dir), "videos": entries})


if __name__ == "__main__":
    run(main)
