"""Solutions to the exercises of notebook 03; a check tells a wrong answer by a hint."""

from collections.abc import Callable, Sequence

import torch

from vaerecon.lab.setup import exercises, require, require_close


def to_btm(x: torch.Tensor, layout: str) -> torch.Tensor:
    """Exercise 1: any layout, one letter of ``btm1`` for each axis of ``x``, to ``[B, T, M]``."""
    if len(layout) != x.ndim:
        raise ValueError(f"layout: got {layout!r} for shape {list(x.shape)}, expected {x.ndim}")
    if "b" not in layout:
        x, layout = x[None], "b" + layout
    if "1" in layout:
        x, layout = x.squeeze(layout.index("1")), layout.replace("1", "")
    # to batch, time, mel, each axis by its letter
    return x.permute([layout.index(letter) for letter in "btm"])


def extra_samples(rates: Sequence[int], kernels: Sequence[int]) -> int:
    """Exercise 3: samples that a HiFi-GAN gives beyond its hop times ``T``."""
    extra = 0
    for rate, kernel in zip(rates, kernels, strict=True):
        # an odd difference adds one value, and each later layer multiplies what came before
        extra = extra * rate + (kernel - rate) % 2
    return extra


def best_affine(wrong: torch.Tensor, right: torch.Tensor) -> tuple[float, float, float]:
    """Exercise 2: least-squares line ``a wrong + b``, and the mean absolute difference left."""
    x, y = wrong.double().flatten(), right.double().flatten()
    a = float(((x - x.mean()) * (y - y.mean())).mean() / (x - x.mean()).square().mean())
    b = float(y.mean() - a * x.mean())
    return a, b, float((a * x + b - y).abs().mean())


def check_to_btm(answer: Callable[..., torch.Tensor]) -> None:
    x = torch.arange(2.0 * 5 * 64).reshape(2, 5, 64)  # [B, T, M]
    found = answer(x.transpose(1, 2), "bmt")
    require(torch.equal(found, x), "[2, 64, 5] as 'bmt': reshape and view mix values, use permute")
    require(torch.equal(answer(x, "btm"), x), "'btm' must come back as it is")
    single = answer(x[0].T, "mt")
    require(list(single.shape) == [1, 5, 64], "without a 'b', the result is a batch of one")
    require(torch.equal(answer(x[:, None], "b1tm"), x), "'b1tm': the axis '1' must go")
    square = torch.arange(64.0 * 64).reshape(1, 64, 64)
    transposed = torch.equal(answer(square, "bmt"), square.transpose(1, 2))
    require(transposed, "a square: the letters count, not the sizes")
    try:
        answer(x, "tm")
    except ValueError as error:
        if isinstance(error.__cause__, ValueError):  # the answer's own
            return
    require(False, "'tm' for three axes: raise a ValueError, do not guess")


def check_extra_samples(answer: Callable[..., int]) -> None:
    cases = (
        ([5, 4, 2, 2, 2], [16, 16, 8, 4, 4]),  # AudioLDM2
        ([8, 8, 2, 2], [16, 16, 4, 4]),  # HiFi-GAN V1
        ([5, 4, 4, 2], [11, 8, 8, 4]),
        ([2, 5, 3, 4], [5, 10, 4, 4]),  # odd in three layers
    )
    for rates, kernels in cases:
        found = answer(rates, kernels)
        expected = extra_samples(rates, kernels)
        require(found == expected, f"rates {rates}, kernels {kernels}: got {found}")


def check_best_affine(answer: Callable[..., tuple[float, float, float]]) -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(20, 64, generator=generator)
    right = 9 * wrong - 10 + torch.randn(20, 64, generator=generator)
    found = answer(wrong, right)
    require(len(found) == 3, "return three numbers: a, b and the mean absolute difference")
    names = ("a", "b", "the mean absolute difference")
    for name, got, want in zip(names, found, best_affine(wrong, right), strict=True):
        # float32 sums of 1280 values differ in the sixth digit
        require_close(float(got), want, f"{name} of the least-squares line", 1e-3 * abs(want))


CHECKS, check_exercises = exercises(check_to_btm, check_extra_samples, check_best_affine)
