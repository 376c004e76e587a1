"""The flow as a diagram, and each of its stages as a picture, for ``00_overview``."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.lab.figures import PICTURE, panels
from vaerecon.plots import DIFFERENCE_MAP, level_limits, new_axes, plot_log_mel

BOX = {"boxstyle": "round,pad=0.5", "facecolor": "#e8eef5", "edgecolor": "#0173b2"}
STEPS = (  # between the boxes, in the order of the flow: what does it, and what it costs
    ("mel front-end", "drops the phase"),
    ("VAE encoder", "keeps what the channels hold"),
    ("VAE decoder", "blurs fine detail"),
    ("vocoder, Griffin-Lim, fast", "invents a phase"),
)


def plot_flow(
    n_samples: int, mel_shape: Sequence[int], latent_shape: Sequence[int], seconds: float
) -> tuple[Figure, Axes]:
    """What a clip of N samples is at each stage, with shapes and values per second."""
    figure, ax = new_axes(None, (11, 1.9))
    samples, mel = ("samples", [n_samples]), ("log-mel", list(mel_shape))
    stages = (samples, mel, ("latent", list(latent_shape)), mel, samples)
    for i, (name, shape) in enumerate(stages):
        rate = f"{np.prod(shape) / seconds:,.0f} values/s"
        ax.text(i, 0, f"{name}\n{shape}\n{rate}", ha="center", va="center", size=9, bbox=BOX)
    for i, (step, cost) in enumerate(STEPS):
        ax.annotate("", (i + 0.69, 0), (i + 0.31, 0), arrowprops={"arrowstyle": "->", "lw": 1.5})
        ax.text(i + 0.5, 0.42, step, ha="center", va="bottom", size=9, weight="bold")
        ax.text(i + 0.5, -0.42, cost, ha="center", va="top", size=9, style="italic")
    ax.set(xlim=(-0.45, 4.45), ylim=(-0.7, 0.7))
    ax.axis("off")
    return figure, ax


def plot_stages(
    mel: torch.Tensor, latent: torch.Tensor, decoded: torch.Tensor
) -> tuple[Figure, np.ndarray]:
    """The log-mel, the latent's channels, and the log-mel that the decoder makes of them.

    Log-mels ``[T, 64]`` share their colour limits. The channels of the latent ``[8, T/4, 16]``
    stand side by side, time to the right in each, on one scale.
    """
    figure, grid = panels(3, 1, (10, 6.6))
    axes = grid[:, 0]
    limits = level_limits(float(mel.max()))
    plot_log_mel(mel, axes[0], title="log-mel", limits=limits)
    channels, positions, rows = latent.shape
    # [8, L, 16] -> [16, 8, L] -> [16, 8 L]: a picture has its rows (frequency) first
    row = latent.permute(2, 0, 1).reshape(rows, channels * positions).cpu().numpy()
    top = float(np.abs(row).max())
    image = axes[1].imshow(row, DIFFERENCE_MAP, vmin=-top, vmax=top, **PICTURE)
    for channel in range(1, channels):
        axes[1].axvline(channel * positions - 0.5, color="black", lw=1)
    middles = (np.arange(channels) + 0.5) * positions
    axes[1].set_xticks(middles, [f"channel {i}" for i in range(channels)])
    axes[1].set(ylabel="row (frequency)", title=f"latent: {channels} channels, each the whole clip")
    figure.colorbar(image, ax=axes[1], label="value", pad=0.01)
    plot_log_mel(decoded, axes[2], title="log-mel after the VAE", limits=limits)
    return figure, axes
