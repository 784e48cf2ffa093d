"""All settings of a training run: their names, types, defaults, ranges and meaning.

Each key is written once, here; `configs/all_settings.yaml` is printed from this module.
"""

from dataclasses import dataclass

from motionmatcher.config.bounds import (
    MAX_BLOCKS,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SEED,
    MAX_SHIFT,
    MAX_TIMESTEPS,
    MAX_UPDATES,
)
from motionmatcher.config.declaration import section, setting
from motionmatcher.config.train_data import TrainData
from motionmatcher.objectives.names import BUILT_IN

# Names of the solvers, see solvers.py (which imports torch, and this module must not).
SCHEDULERS = ("ddim", "euler", "dpm++", "unipc")
# Kinds of modules that can get an adapter, of which a denoiser has some; attention is the published choice.
LORA_TARGETS = ("attention", "temporal_conv", "spatial_conv", "cross_attention")
PRECISIONS = ("no", "fp16", "bf16")
TEMPORAL_MAPS = ("same_place", "frame_mass", "flow")
FEATURE_LOSSES = ("squared", "log", "relative")
# What the published program takes when a run does not say, as published runs hold no settings; all
# else it takes are the defaults below.
PUBLISHED_MODEL = "models/zeroscope_v2_576w/"
PUBLISHED_REPEATS = 10  # videos of each prompt
# Where inference.py puts videos unless told otherwise.
INFERENCE_DIR = "outputs/inference"
# Published keys that have nothing left to switch, and why.
WITHOUT_EFFECT = {
    "save_pretrained_model": "a run never holds a copy of the base model",
    "text_encoder_gradient_checkpointing": "the text is encoded once and not trained",
    "enable_xformers_memory_efficient_attention": "PyTorch's fused attention is always used",
    "enable_torch_2_attn": "PyTorch's fused attention is always used",
}


@dataclass(frozen=True, kw_only=True)
class ValidationData:
    """Previews during training; inference takes its defaults from here too."""

    sample_preview: bool = setting(True, "generate previews every validation_steps")
    prompt: list[str] = setting([], "one prompt or a list; empty: the reference's own prompt")
    include_training_prompt: bool = setting(
        False, "preview the reference's own prompt as well: does the reference come back?"
    )
    seed: int | None = setting(
        None, "seed of the previews' noise; null: the run's seed", minimum=0, maximum=MAX_SEED
    )
    num_frames: int | None = setting(
        None, "frames; null: as the training", minimum=1, maximum=MAX_FRAMES
    )
    width: int | None = setting(
        None, "pixels, a multiple of 8; null: as the training", minimum=8, maximum=MAX_PIXELS
    )
    height: int | None = setting(
        None, "pixels, a multiple of 8; null: as the training", minimum=8, maximum=MAX_PIXELS
    )
    num_inference_steps: int = setting(
        75, "steps of sampling, and of the DDIM inversion", minimum=1, maximum=MAX_TIMESTEPS
    )
    scheduler: str | None = setting(
        None,
        "how sampling steps: ddim as published, and euler for bases of flow matching; dpm++ and unipc need "
        "fewer steps (20 or so); null: ddim, or what a base of flow matching comes with",
        choices=SCHEDULERS,
    )
    guidance_scale: float = setting(
        12.0, "classifier-free guidance; 1 is off", minimum=0, maximum=1000
    )
    lora_scale: float = setting(
        1.0, "scale of the LoRA; 0 is the base model", minimum=0, maximum=100
    )
    noise_prior: float = setting(
        0.3, "share of the reference's inversion noise in the start noise", minimum=0, maximum=1
    )
    inversion_iterations: int | None = setting(
        None,
        "how often each step of the inversion is repeated, to come nearer to what sampling undoes; null: 0 "
        "as published, 1 with flow matching",
        minimum=0,
        maximum=100,
    )
    negative_prompt: str = setting("", "what guidance leads away from")


@dataclass(frozen=True, kw_only=True)
class MotionExtractorSettings:
    """Which motion features are compared."""

    num_denoise_steps: int = setting(
        1,
        "timesteps from the noisy latents to those whose features are compared; with flow matching, "
        "thousandths of the noise level",
        minimum=1,
        maximum=MAX_TIMESTEPS,
    )
    spatial_scale_factor: int = setting(
        4, "UNets: latent size / size of the cross-attention maps", minimum=1, maximum=MAX_PIXELS
    )
    temporal_scale_factor: int = setting(
        4,
        "UNets: latent size / size of the temporal attention's grid",
        minimum=1,
        maximum=MAX_PIXELS,
    )
    blocks: list[int] = setting(
        [],
        "transformers: indices of the blocks whose maps are averaged; empty: from a third of their number "
        "up to the half",
        minimum=0,
        maximum=MAX_BLOCKS,
    )
    temporal_map: str = setting(
        "same_place",
        "transformers: what is read of attention over space and time: same_place, how each place attends to "
        "itself in each frame; frame_mass, how much of its attention goes to each frame; flow, where in "
        "each frame its attention lies",
        choices=TEMPORAL_MAPS,
    )
    # `difference` by default: in fp32, so on every CPU, it is exact and a quarter cheaper.
    mode: str = setting(
        "difference",
        "difference: features of both latents, always in fp32, as published; tangent: their first-order "
        "change, in the precision of the weights, faster on GPUs with half precision",
        choices=("difference", "tangent"),
    )


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the two parts of the loss."""

    spatial_loss: float = setting(
        2000.0, "weight of the cross-attention maps: where things are", minimum=0, maximum=1e12
    )
    temporal_loss: float = setting(
        2000.0,
        "weight of the temporal attention maps: how each place changes",
        minimum=0,
        maximum=1e12,
    )


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """All settings of a training run."""

    pretrained_model_path: str = setting(
        ...,
        "base model: a folder in diffusers' layout, or the id of one on the Hugging Face Hub",
        is_path=True,
    )
    motion_adapter_path: str | None = setting(
        None,
        "AnimateDiff's motion adapter, where the base is a Stable Diffusion: a folder or hub id",
        is_path=True,
    )
    output_dir: str = setting(
        "./outputs/train", "runs are made in here: train_<time>/", is_path=True
    )
    train_data: TrainData = section(TrainData)
    validation_data: ValidationData = section(ValidationData)
    motion_extractor: MotionExtractorSettings = section(MotionExtractorSettings)
    loss_weights: LossWeights = section(LossWeights)

    objective: str = setting(
        "feature_matching",
        "what is minimised: the method's feature_matching (with motion_extractor and loss_weights), or "
        "for comparison a loss on the prediction itself",
        choices=BUILT_IN,
        open_choices=True,
    )
    feature_loss: str = setting(
        "squared",
        "what feature_matching makes of the maps' error: squared, its mean square, as published; log, the "
        "logarithm of that; relative, its share of the base's own at the same noise, for one more pass. The "
        "last two weigh all noise levels and both kinds of maps alike",
        choices=FEATURE_LOSSES,
    )
    use_unet_lora: bool = setting(True, "must be true: the LoRA is what is trained")
    lora_rank: int = setting(32, "rank of the LoRA", minimum=1, maximum=4096)
    lora_targets: list[str] = setting(
        ["attention"],
        "modules with a LoRA: attention (the published 266 Linears; of transformers, those of self-attention "
        "and feed-forward), temporal_conv and spatial_conv (UNets: Conv3d over time, Conv2d of the residual "
        "blocks), cross_attention (transformers)",
        choices=LORA_TARGETS,
    )
    lora_unet_dropout: float = setting(
        0.1,
        "probability of dropping an element of a LoRA's input in training",
        minimum=0,
        maximum=0.99,
    )
    lora_path: str | None = setting(
        None, "LoRA to start from: a checkpoint-N folder, ours or published", is_path=True
    )

    min_timestep: int = setting(
        500,
        "lowest timestep trained, and lowest at which sampling has the LoRA on; with flow matching, a place "
        "in the schedule: 500 of 1000 is half of the sampling steps, whatever the shift",
        minimum=1,
        maximum=MAX_TIMESTEPS,
    )
    train_batch_size: int = setting(
        1, "noises and timesteps drawn a step and process", minimum=1, maximum=10_000
    )
    gradient_accumulation_steps: int = setting(
        1, "batches summed up for one update", minimum=1, maximum=1_000_000
    )
    max_train_steps: int = setting(400, "updates of the LoRA", minimum=1, maximum=MAX_UPDATES)
    learning_rate: float = setting(5e-4, "of AdamW", minimum=1e-12, maximum=1)
    lr_scheduler: str = setting(
        "constant",
        "how the learning rate changes over the run",
        choices=(
            "constant",
            "constant_with_warmup",
            "linear",
            "cosine",
            "cosine_with_restarts",
            "polynomial",
        ),
    )
    lr_warmup_steps: int = setting(
        0, "updates until the full learning rate; not for constant", minimum=0, maximum=MAX_UPDATES
    )
    adam_beta1: float = setting(0.9, "of AdamW", minimum=0, maximum=0.9999)
    adam_beta2: float = setting(0.999, "of AdamW", minimum=0, maximum=0.999999)
    adam_weight_decay: float = setting(1e-2, "of AdamW", minimum=0, maximum=100)
    adam_epsilon: float = setting(
        1e-8,
        "of AdamW; gradients as small as this train nothing, so lower it for tiny losses",
        minimum=1e-30,
        maximum=1,
    )
    use_8bit_adam: bool = setting(False, "AdamW of bitsandbytes, to save memory; CUDA only")
    use_offset_noise: bool = setting(
        False, "add noise that is constant over each frame to the training noise"
    )
    offset_noise_strength: float = setting(0.1, "scale of the offset noise", minimum=0, maximum=10)
    rescale_schedule: bool = setting(
        False, "rescale the noise schedule to zero terminal SNR; for v-prediction bases only"
    )
    flow_shift: float | None = setting(
        None,
        "with flow matching: how far the noise levels of training and sampling are shifted towards noise; "
        "null: the base's own",
        minimum=1e-3,
        maximum=MAX_SHIFT,
    )
    seed: int = setting(0, "fixes every random stream", minimum=0, maximum=MAX_SEED)

    mixed_precision: str = setting(
        "fp16",
        "precision of base and student, and of motion_extractor.mode tangent; difference is always fp32",
        choices=PRECISIONS,
    )
    compile: bool = setting(
        False, "compile the denoiser's layers with torch.compile; pays on CUDA, after some minutes"
    )
    gradient_checkpointing: str = setting(
        "none",
        "what is computed again in backward instead of being kept: none; selective, what is cheap (norms, "
        "activation functions, dropout): two thirds of the memory, a little more time; full, whole layers: "
        "much less memory, about a third more time; true is full, false is none",
        choices=("none", "selective", "full"),
        aliases={"true": "full", "false": "none"},
    )
    vae_tiling: bool = setting(
        False, "encode and decode in tiles: less memory, slightly other numbers; video VAEs"
    )
    checkpointing_steps: int = setting(
        50, "updates between checkpoints", minimum=1, maximum=MAX_UPDATES
    )
    checkpoints_total_limit: int | None = setting(
        None, "checkpoints kept, the newest ones; null: all", minimum=1, maximum=MAX_UPDATES
    )
    validation_steps: int = setting(50, "updates between previews", minimum=1, maximum=MAX_UPDATES)
    resume_from_checkpoint: str | None = setting(
        None, "latest (of output_dir), or a run or checkpoint folder to continue", is_path=True
    )
    cache_latents: bool = setting(
        True,
        "keep the reference's latents and inversion noise in the run, for inference, and what a large text "
        "encoder made of its prompts",
    )
    cached_latent_dir: str | None = setting(
        None, "take latents and inversion noise from this folder, ours or published", is_path=True
    )
    logger_type: str = setting(
        "tensorboard", "where the curves go", choices=("tensorboard", "wandb")
    )

    save_pretrained_model: bool = setting(False, "without effect")
    text_encoder_gradient_checkpointing: bool = setting(False, "without effect")
    enable_xformers_memory_efficient_attention: bool = setting(False, "without effect")
    enable_torch_2_attn: bool = setting(False, "without effect")
