"""Log-mel against librosa's, one clip and a batch.

python -m benchmarks.mel [--quick] [--json FILE]
"""

from __future__ import annotations

import librosa
import numpy as np
import torch

from benchmarks.common import (
    Section,
    fft_seconds,
    main,
    measure,
    ratio,
    ratio_text,
    seconds_text,
    sound,
    table,
)
from vaerecon.mel.front_end import log_mel

SECONDS = 10
BATCH = 16


def plain(samples: np.ndarray) -> np.ndarray:
    """What people write: librosa's mel spectrogram, and a logarithm."""
    mel = librosa.feature.melspectrogram(y=samples, sr=16000, n_fft=1024, hop_length=160, n_mels=64)
    return np.log(np.maximum(mel, 1e-5))


def run(quick: bool = False) -> Section:
    """One 10 s clip, and a batch of 16 of them."""
    clip = sound(SECONDS)
    clips = np.stack([np.roll(clip, 1000 * i) for i in range(BATCH)])
    one, many = torch.from_numpy(clip), torch.from_numpy(clips)
    times = measure(
        {
            "librosa": lambda: plain(clip),
            "kit": lambda: log_mel(one),
            "librosa, one by one": lambda: [plain(c) for c in clips],
            "librosa, one array": lambda: plain(clips),
            "kit, batch": lambda: log_mel(many),
        },
        repeats=5 if quick else 15,
    )
    peers = {"kit": ("librosa",), "kit, batch": ("librosa, one by one", "librosa, one array")}
    ffts = len(log_mel(one)) * fft_seconds()[0]
    limits = {"kit": ffts, "kit, batch": BATCH * ffts / torch.get_num_threads()}
    rows, ratios = [], {}
    for name, timing in times.items():
        faster = []
        for peer in peers.get(name, ()):
            ratios[f"{name} / {peer}"] = ratio(times[peer], timing)
            faster.append(f"{ratio_text(ratios[f'{name} / {peer}'])} than {peer}")
        limit = limits.get(name)
        share = "-" if limit is None else f"{limit / timing.median:.0%}"
        rows.append([name, seconds_text(timing), "; ".join(faster) or "-", share])
    return Section(
        "Log-mel",
        "python -m benchmarks.mel",
        f"A clip of {SECONDS} s; a batch of {BATCH} of them, times for the whole batch. Of "
        "the limit: what its FFTs alone would take, in the processor's cache and on all cores.\n\n"
        + table(["", "time", "times faster (median, least to most)", "of limit"], rows),
        {
            "seconds": {k: t.seconds for k, t in times.items()},
            "ratios": ratios,
            "limit_seconds": limits,
        },
    )


if __name__ == "__main__":
    main(run)
