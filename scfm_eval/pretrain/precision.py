"""The number format that a machine trains fastest in."""

from __future__ import annotations

import torch

from scfm_eval.models.batching import Precision


def fastest_precision(device: str) -> Precision:
    """Return ``"bfloat16"`` where the device has instructions for it, else ``"float32"``."""
    if torch.device(device).type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # older versions of torch cannot say
        able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        has_it = bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    return "bfloat16" if has_it else "float32"
