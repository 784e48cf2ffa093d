"""See the queries and keys of chosen attention modules during a pass, whatever the network.

Every attention of diffusers ends in `F.scaled_dot_product_attention`. Who watches that call while a
module's `forward` runs sees queries and keys after norms and position encoding, and repeats nothing
of diffusers. It is the module's `forward` that is watched, not its processor: diffusers passes a
processor only the arguments that its signature names, so a wrapped one would lose the rotary
embedding without a word.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from motionmatcher.errors import UserError

# (query (B, H, N, d), key (B, H, M, d), mask as `F.scaled_dot_product_attention` takes it) -> map
Gather = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class AttentionWatcher:
    """Gathers a map from the queries and keys of each of a few attention modules.

    The modules compute what they do without it, to the bit.

    Attributes:
        gathers: Module path -> what makes its map.
        maps: Module path -> map. Filled by the pass.
    """

    compiles: ClassVar[bool] = False  # each `forward` that is watched is a new one

    def __init__(self, gathers: Mapping[str, Gather]) -> None:
        self.gathers = dict(gathers)
        self.maps: dict[str, Tensor] = {}

    def blank(self) -> "AttentionWatcher":
        """Make a watcher of the same modules with no maps, for a pass that is repeated."""
        return AttentionWatcher(self.gathers)

    @contextmanager
    def attached(self, network: nn.Module) -> Iterator[None]:
        """Watch every pass of `network` within the block, instead of who watches it already."""
        modules: dict[str, Any] = {name: network.get_submodule(name) for name in self.gathers}
        found = {name: vars(module).get("forward") for name, module in modules.items()}
        try:
            for name, module in modules.items():
                inner = module.forward
                forward = inner.forward if isinstance(inner, _WatchedForward) else inner
                module.forward = _WatchedForward(forward, self, name)
            yield
        finally:
            for name, module in modules.items():
                del module.forward
                if found[name] is not None:
                    module.forward = found[name]


class _WatchedForward:
    """A module's `forward` that leaves a map of its attention with a watcher."""

    def __init__(self, forward: Callable[..., Any], watcher: AttentionWatcher, name: str) -> None:
        self.forward = forward
        self.watcher = watcher
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        seen: list[Tensor] = []
        with _AttentionCalls(self.watcher.gathers[self.name], seen):
            output = self.forward(*args, **kwargs)
        if len(seen) != 1:
            raise UserError(
                f"{self.name} computes attention by {len(seen)} calls of scaled_dot_product_attention, "
                "where maps need one: leave the environment's DIFFUSERS_ATTN_BACKEND at native."
            )
        (self.watcher.maps[self.name],) = seen
        return output


class AttentionMode(TorchFunctionMode):
    """Computes fused attention within the block by a method."""

    def attend(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take the place of `F.scaled_dot_product_attention`."""
        raise NotImplementedError

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            func = self.attend
        return func(*args, **(kwargs or {}))


class _AttentionCalls(AttentionMode):
    """Gathers from each call of fused attention, and lets it go on as it came."""

    def __init__(self, gather: Gather, seen: list[Tensor]) -> None:
        super().__init__()
        self.gather = gather
        self.seen = seen

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        self.seen.append(self.gather(scaled(query, kwargs.get("scale")), key, attn_mask))
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **kwargs)


def scaled(query: Tensor, scale: float | None) -> Tensor:
    """Queries whose scores are scaled as asked once they are divided by `sqrt(d)`."""
    return query if scale is None else query * (scale * query.shape[-1] ** 0.5)
