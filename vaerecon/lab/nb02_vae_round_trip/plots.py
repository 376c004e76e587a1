"""Plots for ``02_vae_round_trip``: tensors and tables in, ``(figure, axes)`` out."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.lab.figures import BLUE, GREEN, GREY, ORANGE, draw_picture, panels, stacked
from vaerecon.lab.nb02_vae_round_trip.round_trip import RoundTrip
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.plots import (
    DIFFERENCE_MAP,
    TICKS_HZ,
    add_colorbar,
    level_limits,
    mel_bin,
    new_axes,
    plot_log_mel,
    plot_mels,
)


def _hz_axis(axis: Axes, along: str = "y", bins_per_row: int = 1) -> None:
    """Ticks in Hz on an axis that counts mel bins (or rows of several bins each)."""
    # the middle of a row of n bins lies (n - 1) / 2 bins above its first
    ticks = (mel_bin(np.array(TICKS_HZ)) - (bins_per_row - 1) / 2) / bins_per_row
    axis.set(**{f"{along}ticks": ticks, f"{along}ticklabels": [str(hz) for hz in TICKS_HZ]})
    axis.set(**{f"{along}label": "frequency (Hz)"})


def plot_round_trip(trip: RoundTrip) -> tuple[Figure, np.ndarray]:
    """Original, reconstruction and difference; the first two on one scale."""
    mels = {f"{trip.clip.name}: original": trip.mel, "after the VAE": trip.decoded}
    title = f"after minus before: mean absolute difference {trip.mae:.2f} nepers"
    return plot_mels(mels, differences={title: trip.decoded - trip.mel})


def plot_errors(trip: RoundTrip, by_level: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """The error by band, by level and by time: mean absolute difference, and bias.

    ``by_level`` has ``mae`` and ``bias`` by level, nepers below the loudest value. A bias is heard
    as a change of timbre or level, an error without bias as roughness or blur.
    """
    difference = (trip.decoded - trip.mel).numpy()
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplot_mosaic([["band", "level"], ["time", "time"]])
    seconds = (np.arange(len(difference)) + 0.5) / AUDIOLDM_MEL.frames_per_second
    curves = (
        ("band", np.arange(64), abs(difference).mean(0), difference.mean(0)),
        ("time", seconds, abs(difference).mean(1), difference.mean(1)),
        ("level", by_level.index + 0.5, by_level["mae"], by_level["bias"]),
    )
    for name, x, mae, bias in curves:
        marker = "o" if name == "level" else ""
        axes[name].plot(x, mae, color=BLUE, marker=marker, label="mean absolute difference")
        axes[name].plot(x, bias, color=ORANGE, marker=marker, label="bias (above 0: too loud)")
        axes[name].axhline(0, color=GREY, linewidth=0.8)
        axes[name].set_ylabel("error (nepers)")
    _hz_axis(axes["band"], "x")
    axes["band"].set_title("by band")
    axes["level"].set(title="by level", xlabel="level of the original (nepers below the loudest)")
    axes["time"].set(title="by time", xlabel="time (s)", xlim=(0, seconds[-1]))
    figure.legend(*axes["band"].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, np.array(list(axes.values()))


def plot_rate(curve: pd.DataFrame, rates: pd.DataFrame) -> tuple[Figure, Axes]:
    """Error against rate of a rounded latent and log-mel (``rate_curve``), with the bounds from KL
    (``bit_rates``)."""
    figure, ax = new_axes(None, (8, 4))
    for (what, points), color in zip(curve.groupby("what"), (BLUE, ORANGE), strict=True):
        ax.plot(points["kbit/s"], points["error"], "o-", color=color, label=f"{what}, rounded")
        for _, point in points.iterrows():
            look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": color}
            ax.annotate(f"{point['step']:g}", (point["kbit/s"], point["error"]), (4, 5), **look)
    for row, line in (("KL from a fitted normal", ":"), ("KL from N(0, 1)", "--")):
        rate = rates["kbit/s"][f"latent, {row}"]
        ax.axvline(rate, color=GREY, linestyle=line, label=f"latent, {row}")
    ax.set(xlabel="bit rate (kbit/s)", ylabel="error of the log-mel (nepers)")
    ax.set_ylim(0, 1.15 * curve["error"].max())
    ax.legend()
    return figure, ax


def plot_latent(latent: torch.Tensor) -> tuple[Figure, np.ndarray]:
    """The channels of a latent ``[8, L, 16]`` as pictures on one scale around zero."""
    rows = (len(latent) + 1) // 2
    figure, axes = panels(len(latent), 2, (10, 1.75 * rows), sharex=True, sharey=True)
    # 1 value in 200 is beyond the scale
    limit = max(float(np.quantile(latent.abs().numpy(), 0.995)), 1e-3)
    step = 4 / AUDIOLDM_MEL.frames_per_second  # s per latent position
    extent = (0, latent.shape[1] * step, -0.5, latent.shape[2] - 0.5)
    for channel, ax in enumerate(axes.flat[: len(latent)]):
        picture = latent[channel].T.numpy()  # [L, 16] -> [16, L]: frequency upwards
        image = draw_picture(ax, picture, extent, DIFFERENCE_MAP, (-limit, limit))
        _hz_axis(ax, "y", bins_per_row=64 // latent.shape[2])
        ax.set(xlabel="time (s)", title=f"channel {channel}")
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="latent value", pad=0.01)
    return figure, axes


def plot_statistics(table: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """Spread, uncertainty and KL divergence by channel; ``table`` of ``channel_statistics``."""
    figure, ((left, right),) = panels(2, 2, (10, 3.4))
    channels = table.index
    left.axhspan(-1, 1, color="0.92", label="the prior: 0 ± 1")
    bars = (
        ("std", -0.12, "over the clip: mean ± std", {"fmt": "o", "color": BLUE}),
        ("sigma", 0.12, "for one value: ± sigma", {"fmt": "none", "color": ORANGE, "lw": 2}),
    )
    for column, shift, label, style in bars:
        x = channels + shift
        left.errorbar(x, table["mean"], table[column], capsize=3, label=label, **style)
    left.set(ylabel="latent value", title="spread over the clip, and uncertainty")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
    left.legend(loc="upper left", fontsize=8)
    right.bar(channels - 0.2, table["kl"], 0.4, color=BLUE, label="KL from N(0, 1)")
    label = "KL from a fitted normal"
    right.bar(channels + 0.2, table["information"], 0.4, color=GREEN, label=label)
    right.set(ylabel="nats per value", title="cost of a channel")
    right.legend(fontsize=8)
    for ax in (left, right):
        ax.set(xlabel="latent channel", xticks=channels)
    return figure, np.array([left, right])


def plot_importance(table: pd.DataFrame, whole: float, kl: pd.Series) -> tuple[Figure, np.ndarray]:
    """The effect of silencing each channel on the error, and on the log-mel against its KL.

    ``table`` from ``channel_importance``, ``kl`` from ``channel_statistics``; ``whole`` is the
    error with all channels, nepers.
    """
    figure, ((left, right),) = panels(2, 2, (10, 3.4))
    left.bar(table.index - 0.2, table["zero"] - whole, 0.4, color=BLUE, label="at zero")
    left.bar(table.index + 0.2, table["mean"] - whole, 0.4, color=ORANGE, label="standing still")
    left.axhline(0, color=GREY, linewidth=0.8)
    left.set(xlabel="latent channel", xticks=table.index, ylabel="rise (nepers)")
    left.set_title(f"rise of the error, from {whole:.2f} nepers")
    left.legend(fontsize=8)
    change = table["change"]
    right.scatter(kl, change, color=BLUE)
    for channel, place in enumerate(zip(kl, change, strict=True)):
        right.annotate(str(channel), place, xytext=(5, 4), textcoords="offset points")
    right.set(xlim=(0, 1.1 * max(kl.max(), 1e-6)), ylim=(0, 1.15 * max(change.max(), 1e-6)))
    right.set(xlabel="KL from N(0, 1) (nats per value)", ylabel="change of the log-mel (nepers)")
    right.set_title("change when zeroed, by channel")
    return figure, np.array([left, right])


def plot_spread(spread: torch.Tensor, mel: torch.Tensor) -> tuple[Figure, np.ndarray]:
    """Standard deviation ``[T, 64]`` of the log-mel over several draws, below the original."""
    figure, axes = stacked(2, 4.2)
    plot_log_mel(mel, axes[0], title="original")
    top = max(float(np.quantile(spread.numpy(), 0.99)), 1e-3)
    plot_log_mel(spread, axes[1], title="spread over the draws", limits=(0, top), colorbar=False)
    axes[1].images[0].set_cmap("viridis")
    add_colorbar([axes[1]], "standard deviation (nepers)")
    axes[0].label_outer()
    return figure, axes


def plot_edit(mel: torch.Tensor, unedited: torch.Tensor) -> tuple[Figure, np.ndarray]:
    """An edited log-mel, and its difference from the unedited one."""
    change = mel - unedited[: len(mel)]
    title = f"edited minus unedited: mean absolute difference {change.abs().mean():.2f} nepers"
    return plot_mels({"edited": mel}, level_limits(float(unedited.max())), {title: change})


def plot_walk(mels: dict[float, torch.Tensor]) -> tuple[Figure, np.ndarray]:
    """Log-mels ``[T, 64]`` by standard deviations added, with 0, and each band's mean change."""
    limits = level_limits(float(mels[0].max()))
    figure = Figure(figsize=(10, 2.0 * len(mels)), layout="constrained")
    grid = figure.add_gridspec(len(mels), 2, width_ratios=(3, 1))
    axes: list[Axes] = []
    for row, (amount, mel) in enumerate(mels.items()):
        ax = figure.add_subplot(grid[row, 0], sharex=axes[0] if axes else None)
        title = f"{amount:+g} standard deviations" if amount else "unchanged"
        plot_log_mel(mel, ax, title=title, limits=limits, colorbar=False)
        ax.label_outer()
        axes.append(ax)
    add_colorbar(axes, "level (nepers)")
    side = figure.add_subplot(grid[:, 1])
    farthest = max(abs(amount) for amount in mels)
    for amount, mel in mels.items():
        color = colormaps["coolwarm"](0.5 + 0.5 * amount / farthest) if amount else "black"
        change = (mel - mels[0]).mean(0)
        side.plot(change, np.arange(64), color=color, label=f"{amount:+g}" if amount else "0")
    _hz_axis(side, "y")
    side.set(xlabel="mean change (nepers)", ylim=(-0.5, 63.5))
    side.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    return figure, np.array([*axes, side])
