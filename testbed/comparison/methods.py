"""The methods compared: settings of the ordinary trainer, and names for people."""

BASE = "base"  # not trained at all
FEATURE_MATCHING = "feature_matching"

# Trained methods: what each changes in the shared settings. See `motionmatcher.losses` for sources.
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
    "denoising": "denoising loss",
    "frame_difference": "frame differences",
    "vmc": "VMC's code",
    "motiondirector": "MotionDirector",
    FEATURE_MATCHING: "feature matching",
    "cross_only": "feature matching, cross maps only",
    "temporal_only": "feature matching, temporal maps only",
}


def title(method: str, noise_prior: float) -> str:
    """Name a method as it is sampled, for tables."""
    if method == BASE:
        return "base" if noise_prior == 0 else f"noise prior {noise_prior:g} alone"
    return _TITLES[method] + (f" + noise prior {noise_prior:g}" if noise_prior else "")


def short_title(method: str) -> str:
    """Name a method whatever the noise prior."""
    return BASE if method == BASE else _TITLES[method]
