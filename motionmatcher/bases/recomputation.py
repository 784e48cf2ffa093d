"""What backward computes again instead of keeping: everything cheap, between matrix products.

Norms, activation functions, dropout and the sums around them take little time and much memory. Kept
are the results of matrix products, convolutions and fused attention alone, so that no counted FLOP
is spent twice but the LoRA's second product.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from torch.utils.flop_counter import flop_registry

_PRODUCTS = {
    *flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,  # not among torch's
}
_MATRIX_PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm}


def keep_products_only(lora_rank: int) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Make the contexts of a forward pass and of its repetition, for `torch.utils.checkpoint`.

    Args:
        lora_rank: Products over this inner dimension are a LoRA's second ones: as large as a layer's
            own result and cheap, they are not kept.
    """

    def choose(context: Any, operator: Any, *inputs: Any, **options: Any) -> CheckpointPolicy:
        product = operator.overloadpacket
        cheap = product in _MATRIX_PRODUCTS and inputs[-1].shape[-2] == lora_rank
        if product in _PRODUCTS and not cheap:
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    forward, repetition = create_selective_checkpoint_contexts(choose)
    return forward, repetition
