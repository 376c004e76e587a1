"""Wrong vocoder inputs, by shape, dtype, scale and delay; their effects, and checks that find them.

:func:`vaerecon.mel.front_end.check_log_mel` raises for a wrong layout. :func:`check_vocoder_input`
reports more and raises nothing. :func:`loop_error` uses the vocoder. None can prove that an input
is right: for that, compare the sound with the original.

Samples are ``[N]`` at peak 0.5, log-mels ``[T, 64]``. Notebook: ``03_vocoder_dimension_fix``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F

from vaerecon import metrics
from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.lab.tables import overview_metrics
from vaerecon.mel import damage
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.diagnosis import diagnose_mel
from vaerecon.mel.front_end import log_mel
from vaerecon.metrics.scores import METRICS
from vaerecon.models.vocoder import n_samples_out, vocode

# scales that tutorials use, computed from the right log-mel; the first is right
SCALES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "ln magnitude": partial(damage.shift, amount=0.0),
    "ln power": damage.power,
    "log10 magnitude": damage.log10,
    "dB": damage.decibels,
    "dB as 0..1": damage.min_max,
}
LAYOUTS = ("[T, 64]", "[64, T]", "[64, T] in squares")
# config.json of AudioLDM2's vocoder/, the sizes only; all its variants share them
AUDIOLDM2_SIZES: dict[str, Any] = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "normalize_before": False,
}
EXACT_KERNELS = [15, 16, 8, 4, 4]  # one tap less in the first layer: no extra sample, no lag
COLUMNS = {  # of a table of scores; other metrics stand behind them
    "snr_db": "SNR (dB)",
    "correlation": "correlation",
    "log_mel_mae": "log-mel error (nepers)",
}
FIXES = {
    "layout": "transpose where the mel is made; a square: follow its axes back to there",
    "dtype": "mel.to(vocoder.dtype)",
    "frames": "center=False, (n_fft - hop) / 2 at each end",
    "samples out": "take the lag off the front, then cut to length",
}


def empty_vocoder(**sizes: Any) -> Any:
    """A ``SpeechT5HifiGan`` on torch's ``meta`` device, without weights: it computes shapes only.

    ``sizes`` are fields of its config that differ from :data:`AUDIOLDM2_SIZES`.
    """
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    with torch.device("meta"):
        return SpeechT5HifiGan(SpeechT5HifiGanConfig(**AUDIOLDM2_SIZES | sizes)).eval()


def random_vocoder(generator: torch.Generator, symmetric: bool = False, **sizes: Any) -> Any:
    """A ``SpeechT5HifiGan`` of 64 channels with AudioLDM2's geometry and random weights.

    ``symmetric`` makes every kernel symmetric in time, so that only the geometry of the layers can
    shift the sound. ``sizes`` as for :func:`empty_vocoder`.
    """
    small = {"upsample_initial_channel": 64, "resblock_kernel_sizes": [3]}
    small |= {"resblock_dilation_sizes": [[1, 3, 5]]}
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
                weight *= 0.1  # the linear range of the tanh
    return model


def share_on_grid(samples: torch.Tensor, spacing: float = 100.0, width: float = 8.0) -> float:
    """Share of the energy of ``samples [N]`` within ``width`` Hz of multiples of ``spacing`` Hz."""
    window = torch.hann_window(len(samples))
    energy = torch.fft.rfft(samples * window).abs().square()
    hz = torch.linspace(0, AUDIOLDM_MEL.sample_rate / 2, len(energy))
    near = (hz + width) % spacing <= 2 * width
    return float(energy[near].sum() / energy.sum())


def square_blocks(mel: torch.Tensor) -> torch.Tensor:
    """Cut a log-mel into blocks of as many frames as bins: ``[T, 64]`` to ``[K, 64, 64]``.

    The last block is padded with silence. The shape of a block does not tell time from frequency.
    """
    filled = F.pad(mel, (0, 0, 0, -len(mel) % 64), value=AUDIOLDM_MEL.log_floor)
    return filled.reshape(-1, 64, 64)


def sound_scores(reference: ArrayLike, sounds: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    """Metrics of several sounds ``[N]`` against one reference ``[N]``, one row per sound.

    :data:`COLUMNS` come first, then those of :func:`vaerecon.lab.tables.overview_metrics`. NaN for
    a score without a value, such as the SNR of a perfect copy.
    """
    columns = COLUMNS | {n: METRICS[n].title for n in overview_metrics() if n not in COLUMNS}
    rows = {name: metrics.evaluate(reference, x, metrics=columns) for name, x in sounds.items()}
    return pd.DataFrame(rows).T.astype(float)[list(columns)].rename(columns=columns)


def length_table(rates: Sequence[int], kernels: Sequence[int], n_frames: int) -> pd.DataFrame:
    """Extra samples and delay of each upsampling layer of a HiFi-GAN, one row per layer.

    A ``ConvTranspose1d`` with kernel ``k``, stride ``s`` and padding ``(k - s) // 2`` turns ``n``
    into ``s n + odd`` values, where ``odd`` is 1 if ``k - s`` is odd; its kernel is then centred
    half a value too late. Later layers multiply both, so they are in samples of the output.
    """
    rows, n = [], n_frames
    for i, (rate, kernel) in enumerate(zip(rates, kernels, strict=True)):
        odd, later = (kernel - rate) % 2, math.prod(rates[i + 1 :])
        rows.append((i, rate, kernel, n, rate * n + odd, odd * later, odd * later / 2))
        n = rate * n + odd
    columns = ["layer", "rate", "kernel", "in", "out", "too many (samples)", "late (samples)"]
    return pd.DataFrame(rows, columns=columns).set_index("layer")


def scale_text(scores: pd.DataFrame, right: str = next(iter(SCALES))) -> str:
    """Whether each of three numbers finds the right one of :data:`SCALES`; Markdown."""
    found = {
        "The log-mel error": scores["log-mel error (nepers)"].idxmin(),
        "The loop error": scores["loop error (nepers)"].idxmin(),
        "The SNR": scores["SNR (dB)"].idxmax(),
    }
    return "\n".join(
        f"- {name} is best for **{best}**: {'right' if best == right else 'wrong'}."
        for name, best in found.items()
    )


@dataclass(frozen=True)
class Attempt:
    """The sound or the error of a vocoder for an input, right or wrong."""

    shape: list[int]  # of the input
    dtype: str
    samples: torch.Tensor | None  # [N] float32; None: it raised
    error: str  # the model's message; empty: it did not raise


@torch.no_grad()
def feed(
    vocoder: Any,
    samples: ArrayLike,
    layout: str = LAYOUTS[0],
    scale: str = next(iter(SCALES)),
    dtype: str = "float32",
    lag: int = 0,
) -> Attempt:
    """Call the model with a clip's mel, without this package's checks, to show how it fails.

    ``layout`` and ``scale`` are of :data:`LAYOUTS` and :data:`SCALES`, the first of each right;
    ``lag`` samples are taken off the front. The model's error is returned, not raised.
    """
    for name, value, known in (("layout", layout, LAYOUTS), ("scale", scale, SCALES)):
        if value not in known:
            raise ValueError(f"{name}: got {value!r}, expected one of {list(known)}")
    x = as_samples(samples)
    mel = SCALES[scale](log_mel(x, normalize=False))
    if layout == LAYOUTS[0]:
        batch = mel[None]
    elif layout == LAYOUTS[1]:
        batch = mel.T[None]  # [T, 64] -> [1, 64, T]: wrong on purpose
    else:
        batch = square_blocks(mel).transpose(1, 2)  # [K, T, 64] -> [K, 64, T], both 64: wrong
    batch = batch.to(vocoder.device, getattr(torch, dtype))
    try:
        sound = vocoder(batch).float().cpu()
    except RuntimeError as error:
        return Attempt(list(batch.shape), dtype, None, str(error))
    if len(batch) > 1:  # blocks, each without its extra samples, which would add up
        sound = sound[:, : math.prod(vocoder.config.upsample_rates) * batch.shape[1]]
    sound = sound.reshape(-1)
    sound = F.pad(sound, (-lag, len(x) + lag - len(sound)))  # a negative pad cuts
    return Attempt(list(batch.shape), dtype, sound, "")


def check_vocoder_input(
    mel: torch.Tensor, vocoder: Any, n_samples: int | None = None
) -> pd.DataFrame:
    """Check layout, dtype, scale, frame grid and length of a vocoder's input, right or wrong.

    ``mel`` is ``[T, M]`` or ``[B, T, M]``, ``vocoder`` a ``SpeechT5HifiGan``; ``n_samples``, the
    length of the clip of the mel, checks the frame grid.

    One row per item: found, expected, result and fix. The result is ``"ok"``, ``"wrong"``,
    ``"unknown"`` (a square) or ``"to cut"`` (the output will be too long). Only ``"wrong"`` is
    certain: a mel in log10 instead of nepers, for example, passes where nothing is silent. The
    scale is checked by :func:`vaerecon.diagnose_mel`.
    """
    rows: list[tuple[str, ...]] = []

    def check(name: str, found: object, expected: object, ok: bool, otherwise: str) -> None:
        result, fix = ("ok", "") if ok else (otherwise, FIXES[name])
        rows.append((name, str(found), str(expected), result, fix))

    bins, shape = vocoder.config.model_in_dim, list(mel.shape)
    fits, square = len(shape) in (2, 3) and shape[-1] == bins, shape[-2:] == [bins, bins]
    unclear = "unknown" if fits and square else "wrong"
    check("layout", shape, f"[.., T, {bins}]", fits and not square, unclear)
    check("dtype", mel.dtype, vocoder.dtype, mel.dtype == vocoder.dtype, "wrong")
    found = [each for each in diagnose_mel(mel) if each.kind != "layout"]
    kinds, fixes = ", ".join(each.kind for each in found), "; ".join(each.fix for each in found)
    rows.append(("scale", kinds or "-", "no finding", "wrong" if found else "ok", fixes))
    if fits and n_samples is not None:
        frames = AUDIOLDM_MEL.n_frames(n_samples)
        check("frames", shape[-2], frames, shape[-2] == frames, "wrong")
    if fits:
        wanted = math.prod(vocoder.config.upsample_rates) * shape[-2]
        made = n_samples_out(vocoder, shape[-2])
        check("samples out", made, wanted, made == wanted, "to cut")
    columns = ["item", "found", "expected", "result", "fix"]
    return pd.DataFrame(rows, columns=columns).set_index("item")


def loop_error(vocoder: Any, mel: torch.Tensor, lag: int = 0) -> float:
    """Mean absolute difference of a log-mel ``[T, 64]`` and the log-mel of its sound, nepers.

    Needs no original. Large for a mel that no sound has; small for the mel of a wrong sound, such
    as one in log10.
    """
    heard = log_mel(vocode(vocoder, mel, lag=lag), normalize=False)
    return float((heard - mel.to(heard.device)).abs().mean())
