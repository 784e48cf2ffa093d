"""Pictures to look at: python -m testbed.sheets

Writes clips of the data with their captions and, once it is trained, frames beside their
reconstructions by the autoencoder.
"""

from pathlib import Path

from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.paths import input_path, shipped, user_path

DEFAULT_FOLDER = Path("resources/moving_shapes")
DEFAULT_BASE = "models/moving_shapes"
SEED = 5000  # never a training seed
NUM_CLIPS = 12


def main() -> int:
    """Write the sheets."""
    parser = ArgumentParser(prog="python -m testbed.sheets", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--output_dir", type=user_path, default=DEFAULT_FOLDER, help="where to write"
    )
    parser.add_argument(
        "--base", type=input_path, default=shipped(DEFAULT_BASE), help="diffusers folder"
    )
    arguments = parser.parse_args()
    write_data_sheet(arguments.output_dir / "data.png")
    if (arguments.base / "vae").is_dir():
        write_reconstruction_sheet(arguments.base, arguments.output_dir / "reconstructions.png")
    return 0


def write_data_sheet(path: Path) -> None:
    """Show clips of the data with their captions."""
    from motionmatcher.clips.contact_sheet import write_contact_sheet
    from testbed.captions import write_caption
    from testbed.renderer import render
    from testbed.scenes import sample_scene, scene_stream

    clips, captions = [], []
    for index in range(NUM_CLIPS):
        rng = scene_stream(SEED, "train", index)
        scene = sample_scene(rng, "train")
        clips.append(render(scene))
        captions.append(write_caption(scene, rng, motion_words=True))
    write_contact_sheet(path, clips, captions, frame_height=64)


def write_reconstruction_sheet(base: Path, path: Path) -> None:
    """Show clips of held-out appearances, each above its reconstruction."""
    import torch
    from diffusers import AutoencoderKL

    from motionmatcher.clips.contact_sheet import write_contact_sheet
    from testbed.autoencoder import images_to_tensor, tensor_to_images
    from testbed.renderer import render
    from testbed.scenes import sample_scene, scene_stream

    vae = AutoencoderKL.from_pretrained(base / "vae").float().eval()
    clips, labels = [], []
    for index in range(NUM_CLIPS // 2):
        clip = render(sample_scene(scene_stream(SEED, "test", index), "test"))
        with torch.no_grad():
            latents = vae.encode(images_to_tensor(clip)).latent_dist.mode()
            decoded = tensor_to_images(vae.decode(latents).sample)
        clips += [clip, decoded]
        labels += ["data", "reconstruction"]
    write_contact_sheet(path, clips, labels, frame_height=64)


if __name__ == "__main__":
    run(main)
