"""Pictures of a sweep: one setting an axis. Notebook: ``09_mel_settings``."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vaerecon.lab.figures import BLUE, ORANGE
from vaerecon.metrics.scores import METRICS


def plot_settings(
    means: pd.DataFrame, names: list[str], metrics: list[str]
) -> tuple[Figure, np.ndarray]:
    """A column for each setting, a row for each metric; AudioLDM2's value with a star.

    ``means`` are of :func:`vaerecon.comparison.grid.mean_settings`, one setting at a time.
    """
    figure = Figure(figsize=(2.5 * len(names), 2.3 * len(metrics)), layout="constrained")
    axes = figure.subplots(len(metrics), len(names), sharex="col", sharey="row", squeeze=False)
    own = means[means["setting"] == "AudioLDM2"]
    for column, name in enumerate(names):
        rows = means[means["setting"].str.fullmatch(f"{name}=[^ ]*") | means.index.isin(own.index)]
        rows = rows.sort_values(name)
        for ax, metric in zip(axes[:, column], metrics, strict=True):
            ax.plot(rows[name], rows[metric], "o-", color=ORANGE, ms=4)
            ax.plot(own[name], own[metric], "*", color=BLUE, ms=12)
            if rows[name].max() > 4 * rows[name].min() > 0:
                ax.set_xscale("log", base=10 if name == "floor" else 2)
                ax.set_xticks(rows[name], [f"{x:g}" for x in rows[name]], fontsize=7)
                ax.minorticks_off()
        axes[-1, column].set_xlabel(name)
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ax.set_ylabel(METRICS[metric].heading)
    return figure, axes
