"""Record the attention maps of chosen modules during one pass of a denoiser."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Protocol

from diffusers.models.attention_processor import Attention
from einops import reduce
from torch import Tensor, nn


class Recorder(Protocol):
    """Collects attention maps of chosen modules.

    Attributes:
        maps: Module path -> map. Filled by the pass.
        compiles: torch.compile can follow a recorded pass, and need not trace each one anew.
    """

    maps: dict[str, Tensor]
    compiles: ClassVar[bool]

    def blank(self) -> "Recorder":
        """Make a recorder of the same modules with no maps, for a pass that is repeated."""

    def attached(self, denoiser: nn.Module, /) -> AbstractContextManager[None]:
        """Record every pass of a network within the block."""


class AttentionRecorder:
    """Collects head-averaged attention maps of chosen modules.

    Only these modules form their probabilities explicitly; all others keep fused attention.

    Attributes:
        module_names: Paths of the recorded attention modules in the denoiser.
        maps: Module path -> map (N, queries, keys), N the module's batch axis. Filled by the pass.
    """

    compiles: ClassVar[bool] = True

    def __init__(self, module_names: Sequence[str]) -> None:
        self.module_names = tuple(module_names)
        self.maps: dict[str, Tensor] = {}

    def blank(self) -> "AttentionRecorder":
        """Make a recorder of the same modules with no maps, for a pass that is repeated."""
        return AttentionRecorder(self.module_names)

    @contextmanager
    def attached(self, denoiser: nn.Module) -> Iterator[None]:
        """Record every pass of `denoiser` within the block; the processors found come back after it."""
        modules: dict[str, Any] = {name: denoiser.get_submodule(name) for name in self.module_names}
        found = {name: module.processor for name, module in modules.items()}
        try:
            for name, module in modules.items():
                module.processor = _RecordingProcessor(self.maps, name)
            yield
        finally:
            for name, module in modules.items():
                module.processor = found[name]


class _RecordingProcessor:
    """Attention with explicit probabilities, kept under a name. Computes what diffusers' does."""

    def __init__(self, maps: dict[str, Tensor], name: str) -> None:
        self.maps = maps
        self.name = name

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        query, key, value = _project(attn, hidden_states, encoder_hidden_states)
        probabilities = attn.get_attention_scores(query, key, attention_mask)  # (N*H, Q, K)
        self.maps[self.name] = reduce(
            probabilities, "(n heads) q k -> n q k", "mean", heads=attn.heads
        )
        hidden_states = attn.batch_to_head_dim(probabilities @ value)  # (N, Q, D)
        return attn.to_out[0](hidden_states)


def _project(
    attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries Q, keys K and values, heads H in the batch axis, inner width D = H * head width."""
    context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
    query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (N*H, Q, D/H)
    key = attn.head_to_batch_dim(attn.to_k(context))  # (N*H, K, D/H)
    value = attn.head_to_batch_dim(attn.to_v(context))  # (N*H, K, D/H)
    return query, key, value
