"""Method griffinlim against librosa's mel_to_audio: time, quality, and what each choice is worth.

python -m benchmarks.phase [--quick] [--json FILE]
python -m benchmarks.phase --folder DIR     # quality over the clips of a folder, first 6 s
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

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
from vaerecon import metrics
from vaerecon.audio.clip import load_audio
from vaerecon.audio.samples import normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import GRIFFIN_LIM_STEPS, METHODS
from vaerecon.phase import mel_inversion
from vaerecon.phase import retrieval as phase

SECONDS = 10
BATCH = 16
CLIP_SECONDS = 6
SHOWN = ("pesq_wb", "stoi", "log_mel_mae", "lsd_db")
SUFFIXES = {".flac", ".wav", ".ogg", ".mp3"}

Way = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # samples, log-mel -> samples


def plain(samples: np.ndarray) -> np.ndarray:
    """What people write: librosa's own power mel and back, at its defaults."""
    grid = {"sr": 16000, "n_fft": 1024, "hop_length": 160}
    mel = librosa.feature.melspectrogram(y=samples, n_mels=64, **grid)
    return librosa.feature.inverse.mel_to_audio(mel, **grid, length=len(samples))


def by_method(name: str) -> Way:
    """A registered method, with its fixed seed."""
    function = METHODS[name].function
    return lambda x, mel: function(mel, x.shape[-1], torch.Generator().manual_seed(0))


@contextmanager
def all_frames_at_once():
    """Griffin-Lim as it is usually done; its best momentum is another, too."""
    before = phase.COMBS
    phase.COMBS = 1
    try:
        yield
    finally:
        phase.COMBS = before


def variants() -> dict[str, Way]:
    """`griffinlim` with one choice changed at a time, and its relatives."""

    def start(mel: torch.Tensor) -> torch.Tensor:
        return mel_inversion.mel_to_magnitude(mel, n_iter=5)

    def usual(x: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        with all_frames_at_once():
            return with_options(momentum=0.99)(x, mel)

    def random(x: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        magnitude = start(mel)
        turns = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0))
        spectrum = torch.polar(magnitude, 2 * torch.pi * turns)
        return with_options(init=spectrum)(x, mel)

    def with_options(**options) -> Way:
        options = {"n_iter": GRIFFIN_LIM_STEPS} | options
        return lambda x, mel: phase.griffin_lim(start(mel), x.shape[-1], log_mel=mel, **options)

    return {
        "griffinlim": by_method("griffinlim"),
        "... all frames at once": usual,
        "... no momentum": with_options(momentum=0.0),
        "... 12 iterations": with_options(n_iter=12),
        "... 64 iterations": with_options(n_iter=64),
        "... from random phase": random,
        "... magnitude as first guessed": lambda x, mel: phase.griffin_lim(
            mel_inversion.mel_to_magnitude(mel), x.shape[-1], n_iter=GRIFFIN_LIM_STEPS
        ),
        "admm": by_method("admm"),
        "librosa, from the kit's mel": by_method("librosa"),
        "librosa, from its own mel": lambda x, mel: torch.from_numpy(plain(x.numpy())),
    }


def quality(ways: dict[str, Way], paths: list[Path]) -> tuple[str, dict]:
    """Means over clips of what comes back from the mel, without the VAE."""
    skipped = [name for name in metrics.METRICS if name not in SHOWN]
    scores: dict[str, list] = {name: [] for name in ways}
    for path in paths:
        x, _ = normalize_level(load_audio(path, max_length=CLIP_SECONDS).samples)
        mel = log_mel(x, normalize=False)
        for name, way in ways.items():
            scores[name].append(metrics.evaluate(x, way(x, mel), 16000, exclude=skipped))
    rows, means = [], {}
    for name, found in scores.items():
        mean = metrics.mean_scores(found)
        means[name] = {metric: mean[metric][0] for metric in SHOWN}
        cells = []
        for metric in SHOWN:
            value, count = mean[metric]
            note = "" if count == len(paths) else f" ({count})"
            cells.append("-" if value is None else f"{value:.3f}{note}")
        rows.append([name, *cells])
    labels = [f"{metrics.METRICS[n].label} {metrics.METRICS[n].unit}".strip() for n in SHOWN]
    return table(["", *labels], rows), means


def own_seconds(clips: int) -> float:
    """Seconds a clip of `griffinlim` in this process."""
    x = torch.from_numpy(sound(SECONDS))
    mel, ours = log_mel(x, normalize=False), by_method("griffinlim")
    started = time.perf_counter()
    for _ in range(clips):
        ours(x, mel)
    return (time.perf_counter() - started) / clips


def seconds_in_processes(clips: int) -> float:
    """Seconds a clip with one process on each core: what they can give without a common lock."""
    cores = torch.get_num_threads()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, torch.set_num_threads, (1,)) as pool:
        list(pool.map(own_seconds, [2] * cores))  # until all have started
        return max(pool.map(own_seconds, [clips] * cores)) / cores


def speed(quick: bool) -> tuple[str, dict]:
    """`griffinlim` against the plain call on one clip; a batch against one by one."""
    x = torch.from_numpy(sound(SECONDS))
    mel = log_mel(x, normalize=False)
    mels = torch.stack([mel.roll(50 * i, dims=0) for i in range(BATCH)])
    ours = by_method("griffinlim")
    batch = torch.zeros(BATCH, len(x))  # only its length counts
    times = measure(
        {
            "librosa.feature.inverse.mel_to_audio": lambda: plain(x.numpy()),
            "griffinlim": lambda: ours(x, mel),
        },
        repeats=3 if quick else 7,
    )
    times |= measure(
        {
            "griffinlim, 16 clips one by one": lambda: [ours(x, m) for m in mels],
            "griffinlim, 16 clips in a batch": lambda: ours(batch, mels),
        },
        repeats=1 if quick else 5,
    )
    if "fast" in METHODS:
        times |= measure({"fast": lambda: by_method("fast")(x, mel)}, repeats=3 if quick else 7)
    librosas, one, singly, batched, *_ = times.values()
    ratios = {"one clip": ratio(librosas, one), "batch": ratio(singly, batched)}
    # the start is one synthesis; an iteration transforms every frame once and back
    there, back = fft_seconds()
    ffts = len(mel) * (back + GRIFFIN_LIM_STEPS * (there + back))
    limits = ["-"] + [
        f"{clips * ffts / threads / timing.median:.0%}"
        for clips, threads, timing in (
            (1, 1, one), (BATCH, 1, singly), (BATCH, torch.get_num_threads(), batched)
        )
    ]  # fmt: skip
    notes = ["-", ratio_text(ratios["one clip"]), "-", ratio_text(ratios["batch"])]
    if "fast" in times:
        notes.append(f"real-time factor {times['fast'].median / SECONDS:.4f}")
        limits.append("-")
    rows = [
        [name, seconds_text(timing), note, limit]
        for (name, timing), note, limit in zip(times.items(), notes, limits, strict=True)
    ]
    apart = seconds_in_processes(BATCH // 4 if quick else BATCH)
    ratios["processes"] = singly.median / BATCH / apart
    less = ratios["processes"]
    text = (
        table(["", "time", "times faster than the row above", "of limit"], rows)
        + f"\n\nOne process on each core takes {1e3 * apart:.3g} ms a clip, {less:.3g} times less"
        " than one by one: what the cores can give. In a batch, threads with some dozens of short"
        " operations a millisecond also wait for Python's interpreter lock."
    )
    return text, {
        "seconds": {name: timing.seconds for name, timing in times.items()},
        "ratios": ratios,
        "fft_seconds": ffts,
    }


def run(quick: bool = False, paths: list[Path] | None = None) -> Section:
    """Both tables."""
    text, numbers = speed(quick)
    ways = variants()
    if quick:
        kept = ("griffinlim", "librosa, from the kit's mel", "librosa, from its own mel")
        ways = {name: ways[name] for name in kept}
    paths = paths or list(demo_clips().values())
    second, numbers["quality"] = quality(ways, paths)
    return Section(
        "Phase retrieval",
        "python -m benchmarks.phase",
        f"A clip of {SECONDS} s, log-mel to samples. One clip runs on one core, a batch on all. "
        "Of the limit: what the FFTs of all iterations alone would take.\n\n"
        f"{text}\n\nQuality from the original mel, means over {len(paths)} clips, first "
        f"{CLIP_SECONDS} s of each (in brackets: clips that have a value):\n\n{second}",
        numbers,
    )


if __name__ == "__main__":
    if "--folder" in sys.argv:
        place = sys.argv.index("--folder")
        folder = Path(sys.argv[place + 1])
        del sys.argv[place : place + 2]
        found = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
        main(lambda quick: run(quick, found))
    else:
        main(run)
