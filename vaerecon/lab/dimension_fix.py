"""What notebook 03 shows: a vocoder fed wrongly, by shape, by type, by scale and by time.

Shapes at every layer (:func:`layer_table`), the transposed square that raises nothing
(:func:`square_blocks`), wrong scales (:func:`scaled_mels`), the extra samples and the lag of the
layers' geometry (:func:`length_table`), and a check of what can be seen from outside
(:func:`check_vocoder_input`, :func:`loop_error`).

Conventions: samples ``[N]`` at peak 0.5, log-mels ``[T, 64]``, as in :mod:`vaerecon.mel`.

Notebook: ``03_vocoder_dimension_fix``.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from vaerecon import metrics
from vaerecon.lab.plots import METHOD_COLORS, RANGE_NEPERS, _axes, plot_log_mel
from vaerecon.lab.setup import png
from vaerecon.mel import (
    AUDIOLDM_MEL,
    PEAK,
    ArrayLike,
    MelConfig,
    as_samples,
    hann_window,
    log_mel,
    mel_filters,
    naive_log_mel,
    stft_frames,
)
from vaerecon.vocoder import n_samples_out, vocode

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.axes import Axes

RIGHT, WRONG = METHOD_COLORS["vocoder"], "#b2182b"
MARGIN = 1.0  # nepers; a VAE may go this far beyond what is possible before it counts as wrong
SCALES = ("ln magnitude", "ln power", "log10 magnitude", "dB below the maximum", "dB as 0..1")
LAYOUTS = ("[T, 64]", "[64, T]", "[64, T] in squares")
# config.json of AudioLDM2's vocoder/, the sizes only; all its variants share them
AUDIOLDM2_SIZES = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "normalize_before": False,
}
EXACT_SIZES = AUDIOLDM2_SIZES | {"upsample_kernel_sizes": [15, 16, 8, 4, 4]}  # one tap less


def empty_vocoder(**sizes: Any) -> Any:
    """A ``SpeechT5HifiGan`` without weights (on torch's ``meta`` device): it computes shapes only.

    Parameters
    ----------
    **sizes
        Fields of ``SpeechT5HifiGanConfig`` that differ from :data:`AUDIOLDM2_SIZES`.
    """
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    with torch.device("meta"):
        return SpeechT5HifiGan(SpeechT5HifiGanConfig(**AUDIOLDM2_SIZES | sizes)).eval()


def random_vocoder(generator: torch.Generator, symmetric: bool = False, **sizes: Any) -> Any:
    """A small ``SpeechT5HifiGan`` with AudioLDM2's geometry and random weights.

    Parameters
    ----------
    generator
        Where the weights come from.
    symmetric
        Mirror every kernel in time, so that only the geometry of the layers can shift the sound.
    **sizes
        As for :func:`empty_vocoder`; 64 channels and one residual block a level by default.
    """
    small = {
        "upsample_initial_channel": 64,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    }
    model = empty_vocoder(**small | sizes).to_empty(device="cpu")
    with torch.no_grad():
        model.mean.zero_()
        model.scale.fill_(1.0)
        for name, weight in model.named_parameters():
            # [out, in, taps], and [in, out, taps] for a layer that upsamples
            fan = weight[0].numel() if weight.ndim == 3 else 0
            weight.copy_(torch.randn(weight.shape, generator=generator) * (fan and fan**-0.5))
            if symmetric and weight.ndim == 3:
                weight.copy_((weight + weight.flip(-1)) / 2)
            if name == "conv_post.weight":
                weight *= 0.1  # below the bend of the tanh
    return model


@torch.inference_mode()
def layer_table(vocoder: Any, x: torch.Tensor) -> pd.DataFrame:
    """Shapes at every stage of a vocoder, read by forward hooks while ``x`` goes through.

    Parameters
    ----------
    vocoder
        ``SpeechT5HifiGan``, with weights or without (:func:`empty_vocoder`).
    x
        ``[B, T, M]``, as the model itself takes it.

    Returns
    -------
    DataFrame
        A row a stage: shape in, shape out, shape of the kernel, parameters. The residual blocks
        of a level run side by side on the same input and are one row.

    Raises
    ------
    RuntimeError
        The model's own, if ``x`` does not fit.
    """
    seen: dict[str, tuple[list[int], list[int], str, int]] = {}

    def watch(name: str, module: torch.nn.Module) -> Any:
        def hook(_: Any, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            kernel = str(list(module.weight.shape)) if hasattr(module, "weight") else ""
            before = seen[name][3] if name in seen else 0
            count = before + sum(p.numel() for p in module.parameters())
            seen[name] = (list(args[0].shape), list(out.shape), kernel, count)

        return module.register_forward_hook(hook)

    parallel = len(vocoder.config.resblock_kernel_sizes)
    hooks = [watch("conv_pre", vocoder.conv_pre), watch("conv_post", vocoder.conv_post)]
    hooks += [watch(f"upsampler.{i}", m) for i, m in enumerate(vocoder.upsampler)]
    hooks += [watch(f"residual.{i // parallel}", m) for i, m in enumerate(vocoder.resblocks)]
    try:
        out = vocoder(x)
    finally:
        for hook in hooks:
            hook.remove()
    first, last = seen["conv_pre"][0], seen["conv_post"][1]
    rows = [("transpose", list(x.shape), first, "", 0)]
    rows += [(name, *row) for name, row in seen.items()]
    rows += [("tanh, squeeze", last, list(out.shape), "", 0)]
    table = pd.DataFrame(rows, columns=["layer", "in", "out", "kernel", "parameters"])
    return table.set_index("layer").astype({"in": str, "out": str})


def dtype_table(vocoder: Any, x: torch.Tensor, dtypes: list[str]) -> pd.DataFrame:
    """What a vocoder says to an input of another dtype, and what the dtype's rounding costs.

    Parameters
    ----------
    vocoder
        ``SpeechT5HifiGan``.
    x
        ``[T, 64]`` log-mel, nepers, float32.
    dtypes
        Names in torch, for example ``["float16", "float64"]``.

    Returns
    -------
    DataFrame
        A row a dtype: the model's answer, and the largest rounding error of ``x`` in nepers.
    """
    rows = []
    for name in dtypes:
        cast = x.to(getattr(torch, name))
        try:
            with torch.inference_mode():
                vocoder(cast)
            answer = "accepted"
        except RuntimeError as error:
            answer = str(error)
        rows.append((name, answer, float((cast.double() - x.double()).abs().max())))
    columns = ["input dtype", "the model's answer", "rounding (nepers)"]
    return pd.DataFrame(rows, columns=columns).set_index("input dtype")


def square_blocks(mel: torch.Tensor, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """Cut a log-mel into blocks of as many frames as it has bins: ``[T, 64]`` to ``[K, 64, 64]``.

    The last block is filled up with silence. In such a block time and frequency cannot be told
    apart by shape.
    """
    filled = F.pad(mel, (0, 0, 0, -len(mel) % config.n_mels), value=config.log_floor)
    return filled.reshape(-1, config.n_mels, config.n_mels)


def scaled_mels(samples: ArrayLike, config: MelConfig = AUDIOLDM_MEL) -> dict[str, torch.Tensor]:
    """The right log-mel of a clip, and the same in scales that tutorials use.

    Parameters
    ----------
    samples
        ``[N]``, peak 0.5.

    Returns
    -------
    dict
        A ``[T, 64]`` for each name in :data:`SCALES`; the first is right. ``"dB as 0..1"`` is
        :func:`vaerecon.mel.naive_log_mel`, with the one frame more of its own grid.
    """
    x = as_samples(samples)
    right = log_mel(x, config, normalize=False)
    power = stft_frames(x, config).abs().square() @ mel_filters(config, str(x.device))
    decibels = 10 * (power / power.max().clamp_min(config.floor)).clamp_min(1e-8).log10()
    mels = (
        right,
        power.clamp_min(config.floor**2).log(),
        right / math.log(10),
        decibels,
        naive_log_mel(x, config),
    )
    return dict(zip(SCALES, mels, strict=True))


def loop_error(vocoder: Any, mel: torch.Tensor, lag: int = 0) -> float:
    """Mean absolute difference of a log-mel and the log-mel of the sound made of it, in nepers.

    Needs no original and no trust in the input: a vocoder that was fed as it was trained gives
    back the mel that it got. The best single test of a front-end.
    """
    heard = log_mel(vocode(vocoder, mel, lag=lag), normalize=False)
    return float((heard - mel.to(heard.device)).abs().mean())


def sound_scores(reference: torch.Tensor, sounds: dict[str, torch.Tensor]) -> pd.DataFrame:
    """SNR, correlation and log-mel error of several sounds against one reference, ``[N]`` each."""
    wanted = ["snr_db", "correlation", "log_mel_mae"]
    rows = {n: metrics.evaluate(reference, x.cpu(), metrics=wanted) for n, x in sounds.items()}
    table = pd.DataFrame(rows).T.astype(float)
    return table.rename(columns={n: f"{metrics.METRICS[n].label} ({n})" for n in ()})


def length_table(rates: list[int], kernels: list[int], n_frames: int) -> pd.DataFrame:
    """How long and how late each upsampling layer of a HiFi-GAN makes its input.

    A ``ConvTranspose1d`` with kernel ``k``, stride ``s`` and padding ``(k - s) // 2`` turns ``n``
    into ``s n + odd`` values, where ``odd`` is 1 if ``k - s`` is odd; its kernel is then centred
    half a value too late. Every later layer stretches both.

    Returns
    -------
    DataFrame
        A row a layer: values in and out, the values too many, and the delay, both also in output
        samples of the whole vocoder.
    """
    rows, n = [], n_frames
    for i, (rate, kernel) in enumerate(zip(rates, kernels, strict=True)):
        odd, later = (kernel - rate) % 2, math.prod(rates[i + 1 :])
        rows.append((i, rate, kernel, n, rate * n + odd, odd * later, odd * later / 2))
        n = rate * n + odd
    columns = ["layer", "rate", "kernel", "in", "out", "too many (samples)", "late (samples)"]
    return pd.DataFrame(rows, columns=columns).set_index("layer")


def shifted_pair(samples: ArrayLike, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A clip and the same clip ``shift`` samples late, both cut to where they overlap.

    Raises
    ------
    ValueError
        If nothing overlaps, or ``shift`` is below 1.
    """
    x = as_samples(samples)
    if not 1 <= shift < len(x):
        raise ValueError(f"shift: got {shift}, expected 1 to {len(x) - 1} samples")
    return x[shift:], x[:-shift]


@dataclass(frozen=True)
class PossibleRange:
    """What a log-mel of samples between -0.5 and 0.5 can be at all, in nepers."""

    lowest: float  # the floor
    highest: float  # no bin can be louder
    highest_mean: float  # no frame can be louder on average over its bins


def possible_range(config: MelConfig = AUDIOLDM_MEL) -> PossibleRange:
    """Bounds that hold for every sound at peak 0.5, from the window and the filters alone.

    Parseval's theorem bounds the energy of a frame's spectrum, the Cauchy-Schwarz inequality what
    a filter can take of it, and Jensen's the mean of the logarithms.
    """
    filters = mel_filters(config).double()  # [513, 64]; nothing at 0 Hz and at 8 kHz
    energy = PEAK**2 * float(hann_window(config).double().square().sum())  # of a windowed frame
    spectrum = math.sqrt(config.n_fft * energy / 2)  # norm of the bins between 0 Hz and 8 kHz
    loudest = float(filters.norm(dim=0).max()) * spectrum
    mean = float(filters.mean(dim=1).norm()) * spectrum
    return PossibleRange(config.log_floor, math.log(loudest), math.log(mean + config.floor))


def check_vocoder_input(
    mel: torch.Tensor,
    vocoder: Any,
    n_samples: int | None = None,
    config: MelConfig = AUDIOLDM_MEL,
) -> pd.DataFrame:
    """Everything that can be told of a vocoder's input without listening.

    :func:`vaerecon.mel.check_log_mel` refuses a wrong layout. This one refuses nothing and looks
    further: at the dtype, the scale, the frame grid and the length.

    Parameters
    ----------
    mel
        ``[T, M]`` or ``[B, T, M]``, whatever is about to be given to the model.
    vocoder
        ``SpeechT5HifiGan``.
    n_samples
        Length of the clip that the mel was computed from, to check the frame grid.
    config
        The front-end that the vocoder was trained with.

    Returns
    -------
    DataFrame
        A row an item: found, expected, and the verdict, ``"ok"``, ``"wrong"`` or ``"cannot
        tell"``. Only ``"wrong"`` is certain: a mel of power instead of magnitude, for example,
        can pass. :func:`loop_error` hears the rest.
    """
    bins, rates = vocoder.config.model_in_dim, vocoder.config.upsample_rates
    shape, hop, values = list(mel.shape), math.prod(rates), mel.double()
    possible = possible_range(config)
    low, high, mean = float(values.min()), float(values.max()), float(values.mean())
    is_square = len(shape) in (2, 3) and shape[-2:] == [bins, bins]
    fits = len(shape) in (2, 3) and shape[-1] == bins
    rows = [
        ("layout", f"{shape}", f"[T, {bins}] or [B, T, {bins}]", None if is_square else fits),
        ("dtype", str(mel.dtype), str(vocoder.dtype), mel.dtype == vocoder.dtype),
        ("finite", *(("yes", "yes", True) if values.isfinite().all() else ("no", "yes", False))),
        ("lowest", low, f"at least {possible.lowest:.2f}", low >= possible.lowest - MARGIN),
        ("highest", high, f"at most {possible.highest:.2f}", high <= possible.highest + MARGIN),
        ("mean", mean, f"at most {possible.highest_mean:.2f}", mean <= possible.highest_mean),
    ]
    if fits and n_samples is not None:
        expected = config.n_frames(n_samples)
        rows.append(("frames", shape[-2], f"{expected} for {n_samples} samples",
                     shape[-2] == expected))  # fmt: skip
    if fits:
        got, wanted = n_samples_out(vocoder, shape[-2]), hop * shape[-2]
        rows.append(("samples out", got, f"{wanted} (cut the rest off)", got == wanted))
    verdicts = {True: "ok", False: "wrong", None: "cannot tell"}
    rows = [
        (item, f"{found:.2f}" if isinstance(found, float) else str(found), wanted, verdicts[ok])
        for item, found, wanted, ok in rows
    ]
    columns = ["item", "found", "expected", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index("item")
