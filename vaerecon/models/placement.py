"""The device and the dtype of a model: checked, or chosen."""

from typing import Any

import torch

DTYPES = ("auto", "float32", "float16", "bfloat16", "mixed")


def pick_device(device: str | torch.device | None) -> str:
    """Check that ``device`` is there; choose one for ``None``."""
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device is None:
        return "cuda" if has_cuda else "mps" if has_mps else "cpu"
    kind, _, index = str(device).partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise ValueError(f"device: got {device!r}, expected 'cpu', 'cuda', 'cuda:1', 'mps' or None")
    if kind == "cuda" and (not has_cuda or int(index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if has_cuda else 0
        raise ValueError(
            f"device: got {device!r}, but torch {torch.__version__} sees {count} CUDA devices; use "
            "device='cpu', or install a CUDA build of torch and its driver"
        )
    if kind == "mps" and not has_mps:
        raise ValueError("device: got 'mps', but this is no Mac with Metal; use device='cpu'")
    return str(device)


def named_dtype(
    dtype: str | torch.dtype | None, torch_dtype: str | torch.dtype | None
) -> str | None:
    """Name of the dtype; diffusers and transformers have two names for the option."""
    wanted = [str(d).removeprefix("torch.") for d in (dtype, torch_dtype) if d is not None]
    if len(set(wanted)) > 1:
        raise ValueError(f"dtype: got {wanted[0]!r}, but torch_dtype {wanted[1]!r}; give one")
    return wanted[0] if wanted else None


def pick_dtype(dtype: str, device: str) -> str:
    """Resolve ``"auto"`` for ``device``; check that torch can compute in ``dtype`` there."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, expected one of {', '.join(DTYPES)}")
    if dtype == "auto":
        if not device.startswith("cuda"):
            return "float32"
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    parts = "bfloat16" if dtype == "mixed" else dtype
    try:
        probe = torch.ones(1, 1, 4, dtype=getattr(torch, parts), device=device)
        torch.nn.functional.conv1d(probe, probe[..., :3])
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"dtype: torch {torch.__version__} has no {parts} convolution on {device} "
                         f"({error}); use dtype='float32'") from error  # fmt: skip
    return dtype


def overflow_text(model: Any) -> str:
    """The likely cause of a result that is not finite, and the fix."""
    if model.dtype == torch.float16:
        return "float16 overflowed: load with dtype='float32' or 'bfloat16'"
    return "are its weights intact?"
