"""Frame-wise CLIP metrics; pure functions of embeddings, which need not be normalised.

Axes: F frames, D embedding width.
"""

from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize


def clip_text_score(frames: Tensor, text: Tensor) -> float:
    """Measure how well a video shows its prompt (CLIP-T).

    Args:
        frames: Frame embeddings, (F, D).
        text: Prompt embedding, (D,).

    Returns:
        Mean cosine of the text and each frame, -1 to 1; higher is better.
    """
    return cosine_similarity(frames, text[None], dim=-1).mean().item()


def frame_consistency(frames: Tensor) -> float:
    """Measure how alike adjacent frames look.

    Args:
        frames: Frame embeddings, (F, D), F at least 2.

    Returns:
        Mean cosine of each frame and the next, -1 to 1; higher is smoother.
    """
    return cosine_similarity(frames[:-1], frames[1:], dim=-1).mean().item()


def appearance_leakage(frames: Tensor, reference: Tensor) -> float:
    """Measure how much of the reference clip's appearance a video took over.

    Args:
        frames: Frame embeddings of the video, (F, D).
        reference: Frame embeddings of the reference clip, (R, D).

    Returns:
        Mean cosine over all pairs of frames, -1 to 1; lower is better, down to the value that the
        base model reaches without having seen the clip.
    """
    cosines = normalize(frames, dim=-1) @ normalize(reference, dim=-1).T  # (F, D) x (D, R)
    return cosines.mean().item()
