"""Bit rates of a latent, by three designs and in theory; rate against quality; an explorer.

Latents are ``[8, L, 16]``, quantised ones ``[L, 128]``; rates are kbit/s. Where a table of
frequencies is assumed, it is a two-sided geometric distribution whose mean size was measured on
other clips, as a static table is.

Notebook: ``07_compression``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.codec import Header, LatentCodec
from vaerecon.codec.latent_codec import to_frames
from vaerecon.codec.quantiser import N_STEPS, Quantiser, step_of
from vaerecon.lab.figures import panels
from vaerecon.lab.nb02_vae_round_trip.round_trip import RoundTrip, channel_statistics
from vaerecon.lab.tables import count
from vaerecon.lab.widgets import Explorer, labelled, sound_explorer
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import log_mel
from vaerecon.metrics.scores import METRICS
from vaerecon.models import autoencoder
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.plots import plot_mels

FRAMES = 25  # latent frames a second
DESIGNS = ("static tables", "+ prediction", "+ KLT")
SMALLEST = 1e-3  # mean size that a table assumes at least
COLORS = {"latent": "#0173b2", "opus": "#de8f05", "mp3": "#949494", "vorbis": "#029e73"}


def code_length(numbers: np.ndarray, sizes: np.ndarray) -> float:
    """Bits of ``numbers`` ``[L, C]`` by tables for numbers of the mean sizes ``sizes`` ``[C]``."""
    sizes = np.maximum(sizes, SMALLEST)
    # of p(n) = (1 - r) / (1 + r) r^|n| the mean size is 2 r / (1 - r^2)
    ratio = (np.sqrt(1 + sizes**2) - 1) / sizes
    bits = -np.log2((1 - ratio) / (1 + ratio)) - np.abs(numbers) * np.log2(ratio)
    return float(bits.sum())


def whole_numbers(codec: LatentCodec, latent: torch.Tensor, index: int, design: str) -> np.ndarray:
    """The numbers ``[L, 128]`` that one of :data:`DESIGNS` would code.

    Each has what those before it have: rounding of the scaled latent, prediction from the decoded
    frame before, and the KLT.
    """
    constants = codec.constants
    scaled = latent.numpy() / constants["deviation"][:, None, None]
    frames = to_frames(scaled) - constants["mean"]
    rotation, predictor = (constants[name].astype(float) for name in ("rotation", "predictor"))
    if design == DESIGNS[0]:
        return Quantiser(0 * predictor, index).quantise(frames)
    if design == DESIGNS[1]:  # the same prediction, in the coordinates of the frame
        return Quantiser(rotation @ predictor @ rotation.T, index).quantise(frames)
    return Quantiser(predictor, index).quantise(frames @ rotation)


def design_rates(
    codec: LatentCodec, coded: RoundTrip, others: Sequence[RoundTrip], index: int
) -> pd.Series[float]:
    """Rate of a clip by each design, with tables learned from the other clips; and of the file."""
    seconds = coded.mean.shape[1] / FRAMES
    rates = {}
    for design in DESIGNS:
        learned = [np.abs(whole_numbers(codec, other.mean, index, design)) for other in others]
        sizes = np.concatenate(learned).mean(axis=0)
        numbers = whole_numbers(codec, coded.mean, index, design)
        rates[design] = code_length(numbers, sizes) / seconds / 1000
    data = codec.encode(coded.mean, step=step_of(index))
    rates["the real file"] = 8 * len(data) / seconds / 1000
    return pd.Series(rates, name=coded.clip.name)


def through_codec(
    pipe: ReconstructionPipeline, codec: LatentCodec, coded: RoundTrip, step: float
) -> tuple[torch.Tensor, float, float]:
    """The mel that comes back from a file at a step, the rate (kbit/s), and its error (nepers).

    At step 0 nothing is rounded, and there is no rate (NaN).
    """
    latent, kbps = coded.mean, math.nan
    if step > 0:
        data = codec.encode(coded.mean, step=step, n_samples=len(coded.clip.samples))
        latent, kbps = codec.decode(data), Header.read(data).kbps
    mel = pipe.decode(latent, len(coded.mel)).cpu()
    return mel, kbps, float((mel - coded.mel).abs().mean())


def bounds(codec: LatentCodec, coded: RoundTrip) -> pd.Series[float]:
    """Rates in theory and in a file, at the same noise.

    Rounding to a step leaves a noise of step / sqrt(12); at sqrt(12) posterior deviations it is as
    large as that of a draw from the posterior, which the KL divergences are for.
    """
    rate = FRAMES * 128 / math.log(2) / 1000  # of one nat for each value, kbit/s
    fitted = channel_statistics(coded.mean, coded.logvar)["information"].mean()
    data = codec.encode(coded.mean, step=math.sqrt(12))
    return pd.Series(
        {
            "KL from N(0, 1)": rate * float(autoencoder.kl_nats(coded.mean, coded.logvar)),
            "KL from a normal for each channel": rate * fitted,
            "the real file": 8 * len(data) / (coded.mean.shape[1] / FRAMES) / 1000,
        },
        name="kbit/s",
    )


def rate_curves(group: pd.DataFrame, metric: str) -> dict[str, pd.DataFrame]:
    """Codec -> its mean rates and scores, from low to high, of a table of ``compare``."""
    coded = group.dropna(subset="kbps")
    return {
        str(codec): rows.groupby("method")[["kbps", metric]].mean().sort_values("kbps")
        for codec, rows in coded.groupby(coded["method"].str.split(":").str[0], sort=False)
    }


def crossing(group: pd.DataFrame, metric: str) -> float:
    """The rate from which on the mean score of Opus exceeds the latent's, kbit/s.

    Between the measured rates lie straight lines. Infinity: it is behind at the highest of them.
    """
    curves = rate_curves(group, metric)
    latent, opus = curves["latent"], curves["opus"]
    rates = np.linspace(opus["kbps"].min(), max(opus["kbps"].max(), latent["kbps"].max()), 500)
    ours = np.interp(rates, latent["kbps"], latent[metric])  # flat above its last rate
    theirs = np.interp(rates, opus["kbps"], opus[metric])
    behind = np.flatnonzero(METRICS[metric].sign * (theirs - ours) <= 0)
    first = behind[-1] + 1 if len(behind) else 0
    return float(rates[first]) if first < len(rates) else math.inf


def crossing_text(table: pd.DataFrame, domains: Mapping[str, str], metric: str) -> str:
    """For each domain, from which rate Opus is better, and over how many clips."""
    lines, label = [], METRICS[metric].label
    for domain, group in table.groupby(table["clip"].map(domains), sort=False):
        rate, clips = crossing(group, metric), count(group["clip"].nunique(), "clip")
        where = f"from {rate:.1f} kbit/s on"
        if math.isinf(rate):
            where = "nowhere, or not up to the highest of these rates"
        lines.append(f"- {domain} ({clips}): by {label} Opus is better {where}.")
    return "\n".join(lines)


def plot_rate_distortion(
    table: pd.DataFrame, domains: Mapping[str, str], metrics: tuple[str, ...]
) -> tuple[Figure, np.ndarray]:
    """A column for each domain, a row for each metric, a curve for each codec: means over clips."""
    groups = dict(list(table.groupby(table["clip"].map(domains), sort=False)))
    size = (4.6 * len(groups), 2.9 * len(metrics))
    n_panels, columns = len(groups) * len(metrics), len(groups)
    figure, axes = panels(n_panels, columns, size, sharex=True, sharey="row")
    for column, (domain, group) in enumerate(groups.items()):
        axes[0, column].set_title(f"{domain}, {count(group['clip'].nunique(), 'clip')}")
        axes[-1, column].set_xlabel("kbit/s")
        for row, metric in enumerate(metrics):
            _plot_codecs(axes[row, column], group, metric)
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ax.set_ylabel(f"{METRICS[metric].label} {METRICS[metric].arrow}")
    axes[0, 0].legend(frameon=False, fontsize="small")
    return figure, axes


def _plot_codecs(ax: Axes, group: pd.DataFrame, metric: str) -> None:
    """One curve for each codec in a table of ``compare``; a dashed line for the latent as it is."""
    for codec, means in rate_curves(group, metric).items():
        ax.plot(means["kbps"], means[metric], marker="o", color=COLORS[codec], label=codec)
    uncoded = group.loc[group["method"] == "fast", metric].mean()
    ax.axhline(uncoded, color=COLORS["latent"], linestyle="--", linewidth=0.8,
               label="latent, not rounded")  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    ax.minorticks_off()


def error_by_band(original: ArrayLike, sounds: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Mean absolute difference of the log-mels in each bin, nepers; index: Hz."""
    filters = mel_filters()  # [513, 64]: the middle of a bin is where its filter is largest
    middle = filters.argmax(dim=0) * AUDIOLDM_MEL.sample_rate / AUDIOLDM_MEL.n_fft
    mel = log_mel(original)
    columns = {
        name: (log_mel(torch.as_tensor(sound)) - mel).abs().mean(dim=0).numpy()
        for name, sound in sounds.items()
    }
    return pd.DataFrame(columns, index=pd.Index(middle.numpy(), name="Hz"))


def explore_step(
    pipe: ReconstructionPipeline, codec: LatentCodec, coded: RoundTrip, method: str = "fast"
) -> Explorer:
    """A slider for the step: its rate, the mel that comes back, and its sound."""
    number = {"value": 48, "min": 0, "max": N_STEPS - 1, "step": 4, "readout": False}
    index = labelled(widgets.IntSlider, "step", **number)
    n, mel = len(coded.clip.samples), pipe.decode(coded.mean, len(coded.mel))

    def plot() -> Figure:
        step = step_of(index.value)
        rounded, kbps, error = through_codec(pipe, codec, coded, step)
        title = f"step {step:.2f}: {kbps:.2f} kbit/s, {error:.3f} nepers off"
        return plot_mels({"original": coded.mel, title: rounded})[0]

    def tracks() -> dict[str, ArrayLike]:
        rounded, kbps, _ = through_codec(pipe, codec, coded, step_of(index.value))
        mels = {"not rounded": mel, f"{kbps:.2f} kbit/s": rounded}
        sounds: dict[str, ArrayLike] = {"original": coded.clip.samples}
        return sounds | {name: pipe.synthesize(x, method, n).cpu() for name, x in mels.items()}

    return sound_explorer([index], plot, tracks, coded.clip.name)
