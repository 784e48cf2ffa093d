"""Notice a LoRA that is not training: no gradient, or one too small for Adam to act on."""

from collections.abc import Mapping

from torch import Tensor, nn

# Adam divides by sqrt(v) + eps: a gradient of 10 eps still takes 91 % of a full step.
SMALL_RATIO = 10.0


class GradientWatch:
    """Watches the first updates and warns once.

    B of a fresh LoRA is zero, which leaves A without gradient in the first step, so each adapter
    counts by the largest gradient that A or B got in any of the steps watched.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], adam_epsilon: float, steps: int
    ) -> None:
        """Start watching.

        Args:
            parameters: LoRA parameters by name, `….lora_A.…` and `….lora_B.…`.
            adam_epsilon: The optimiser's epsilon.
            steps: Updates watched before the verdict.
        """
        self.parameters = parameters
        self.adam_epsilon = adam_epsilon
        self.steps = steps
        self._largest: dict[str, Tensor] = {}
        self._seen = 0

    def observe(self) -> list[str]:
        """Look at the gradients of one update, after unscaling.

        Returns:
            Warnings, one line each, after the last of the steps watched; otherwise nothing.
        """
        if self._seen >= self.steps:
            return []
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                adapter = name.split(".lora_")[0]
                size = parameter.grad.detach().abs().mean()
                self._largest[adapter] = size.maximum(self._largest.get(adapter, size))
        self._seen += 1
        return self._verdict() if self._seen == self.steps else []

    def _verdict(self) -> list[str]:
        adapters = dict.fromkeys(name.split(".lora_")[0] for name in self.parameters)
        sizes = {name: float(self._largest.get(name, 0.0)) for name in adapters}
        silent = [name for name, size in sizes.items() if size == 0]
        faint = [
            name for name, size in sizes.items() if 0 < size <= SMALL_RATIO * self.adam_epsilon
        ]
        warnings = []
        if silent:
            warnings.append(
                f"{_count(silent, len(adapters))} got no gradient in the first {self.steps} steps and "
                "will not train: check loss_weights, lora_targets and min_timestep."
            )
        if faint:
            median = sorted(sizes[name] for name in faint)[len(faint) // 2]
            warnings.append(
                f"{_count(faint, len(adapters))} got gradients (median {median:.1e}) near adam_epsilon "
                f"({self.adam_epsilon:.0e}), which Adam hardly follows: lower adam_epsilon to "
                f"{median * 1e-4:.0e} or raise loss_weights."
            )
        return warnings


def _count(names: list[str], total: int) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} of {total} LoRA modules ({shown})"
