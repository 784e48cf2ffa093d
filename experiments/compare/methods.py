"""What is compared: trained methods as settings of the trainer, regimes, and kinds of captions."""

from collections.abc import Sequence

BASE = "base"  # not trained at all
RESTING = "resting_object"  # no video either: an object that stays in the middle of the frame
FEATURE_MATCHING = "feature_matching"
PUBLISHED = "published"

# Of each trained method, what it changes in the shared settings as the decisions left them.
TRAINED: dict[str, tuple[str, ...]] = {
    "denoising": ("objective=denoising",),
    "frame_difference": ("objective=frame_difference",),
    "vmc": ("objective=vmc",),
    "motiondirector": ("objective=motiondirector",),
    PUBLISHED: (
        "objective=feature_matching",
        "feature_loss=squared",
        "loss_weights.spatial_loss=2000",
        "loss_weights.temporal_loss=2000",
    ),
    FEATURE_MATCHING: ("objective=feature_matching",),
    "cross_only": ("objective=feature_matching", "loss_weights.temporal_loss=0"),
    "temporal_only": ("objective=feature_matching", "loss_weights.spatial_loss=0"),
}
EACH_MAP = ("cross_only", "temporal_only")  # feature matching of one kind of map
OF_FEATURE_MATCHING = ("motion_extractor", "loss_weights", "feature_loss")  # settings of its loss
PIXEL_METHODS = ("denoising", "frame_difference", "vmc", "motiondirector")
CLAIMED = (FEATURE_MATCHING, PUBLISHED)  # what the claim is made of

TITLES = {
    BASE: "base",
    RESTING: "resting object",
    "denoising": "denoising loss",
    "frame_difference": "frame differences",
    "vmc": "VMC's code",
    "motiondirector": "MotionDirector",
    PUBLISHED: "feature matching, published loss",
    FEATURE_MATCHING: "feature matching",
    "cross_only": "feature matching, cross maps only",
    "temporal_only": "feature matching, temporal maps only",
}

REGIMES = GATED, OPEN = "gated", "open"
CAPTIONS = FULL, UNSAID = "full", "unsaid"


def title(method: str, noise_prior: float = 0.0) -> str:
    """Name a method as it is sampled, for tables."""
    if method == BASE and noise_prior:
        return f"noise prior {noise_prior:g} alone"
    return TITLES[method] + (f" + noise prior {noise_prior:g}" if noise_prior else "")


def held(method: str, decided: Sequence[str]) -> tuple[str, ...]:
    """Tell which decided changes hold for a method: those of feature matching's loss only there."""
    if method in (FEATURE_MATCHING, *EACH_MAP):
        return tuple(decided)
    return tuple(change for change in decided if not change.startswith(OF_FEATURE_MATCHING))
