"""The methods compared: settings of the ordinary trainer, and what they are, for people."""

BASE = "base"  # not trained at all
RESTING = "resting_object"  # no video either: an object that stays in the middle of the frame
FEATURE_MATCHING = "feature_matching"

# Trained methods: what each changes in the shared settings. `motionmatcher.objectives.losses` names
# the sources.
TRAINED: dict[str, tuple[str, ...]] = {
    "denoising": ("objective=denoising",),
    "frame_difference": ("objective=frame_difference",),
    "vmc": ("objective=vmc",),
    "motiondirector": ("objective=motiondirector",),
    FEATURE_MATCHING: ("objective=feature_matching",),
    "cross_only": ("objective=feature_matching", "loss_weights.temporal_loss=0"),
    "temporal_only": ("objective=feature_matching", "loss_weights.spatial_loss=0"),
}
PIXEL_METHODS = ("denoising", "frame_difference", "vmc", "motiondirector")

_TITLES = {
    BASE: "base",
    RESTING: "resting object",
    "denoising": "denoising loss",
    "frame_difference": "frame differences",
    "vmc": "VMC's code",
    "motiondirector": "MotionDirector",
    FEATURE_MATCHING: "feature matching",
    "cross_only": "feature matching, cross maps only",
    "temporal_only": "feature matching, temporal maps only",
}
# What each minimises, and whence.
LOSSES = {
    "denoising": "mean squared error (MSE) of the predicted noise (DDPM, arXiv:2006.11239, Eq. 14)",
    "frame_difference": "MSE of the differences of neighbouring frames' noise (VMC, arXiv:2312.00845)",
    "vmc": "MSE of the noise, plus one minus the cosine along frames of the absolute differences of "
    "neighbouring frames (as VMC's published code has it, with the denoising loss that those add who "
    "take it up)",
    "motiondirector": "MSE of the noise, plus that of √2 x − x_anchor with the anchor a random frame "
    "(temporal path of MotionDirector, arXiv:2310.08465, Sec. 3.2)",
    FEATURE_MATCHING: "MSE of the base's cross- and temporal-attention maps after a short step with "
    "the predicted and with the true noise (MotionMatcher, arXiv:2502.13234, Sec. 3.3)",
    "cross_only": "the same of the cross-attention maps alone",
    "temporal_only": "the same of the temporal-attention maps alone",
}


def title(method: str, noise_prior: float) -> str:
    """Name a method as it is sampled, for tables."""
    if method == BASE and noise_prior:
        return f"noise prior {noise_prior:g} alone"
    return _TITLES[method] + (f" + noise prior {noise_prior:g}" if noise_prior else "")


def short_title(method: str) -> str:
    """Name a method whatever the noise prior."""
    return _TITLES[method]
