"""The bundled model from samples to samples: the kit against the original guide's road.

    python -m benchmarks.tiny [--quick] [--json FILE]

The guide's road with the same weights: librosa's mel in decibels, scaled to 0..1; VAE; vocoder, fed
with the transposed mel; librosa's Griffin-Lim; SNR, correlation and RMSE of both.
"""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import torch

from benchmarks.common import (
    Section,
    main,
    measure,
    multiply_adds,
    percent_of_limit,
    ratio,
    ratio_text,
    seconds_text,
    sound,
    table,
)
from vaerecon.mel.front_end import log_mel, naive_log_mel
from vaerecon.methods import METHODS
from vaerecon.pipeline.pipeline import ReconstructionPipeline

SECONDS = 10


def simple_scores(reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """The guide's three."""
    n = min(len(reference), len(estimate))
    x, y = reference[:n], estimate[:n]
    noise = float(np.mean((x - y) ** 2))
    return {
        "snr_db": 10 * np.log10(float(np.mean(x**2)) / noise),
        "correlation": float(np.corrcoef(x, y)[0, 1]),
        "rmse": noise**0.5,
    }


@torch.inference_mode()
def guide(pipe: Any, samples: np.ndarray) -> None:
    """What the original guide did, on one clip."""
    scaled = naive_log_mel(samples)  # [T, 64]
    scaled = scaled[: len(scaled) // 4 * 4]
    latent = pipe.vae.encode(scaled.T[None, None]).latent_dist.sample()
    picture = pipe.vae.decode(latent).sample[0, 0]  # [64, T], as its models were fed
    voiced = pipe.vocoder(picture.T[None])[0].numpy()
    decibels = picture.numpy() * 80 - 80
    found = librosa.feature.inverse.mel_to_audio(
        librosa.db_to_power(decibels), sr=16000, n_fft=1024, hop_length=160
    )
    for estimate in (voiced, found):
        simple_scores(samples, estimate)


def kit(pipe: Any, samples: np.ndarray, method: str) -> None:
    """Samples to samples by one method, and the same three scores."""
    mel = log_mel(samples)
    back = pipe.decode(pipe.encode(mel), n_frames=len(mel))
    simple_scores(samples, pipe.synthesize(back, method, n_samples=len(samples)).numpy())


def run(quick: bool = False) -> Section:
    """One 10 s clip."""
    samples = sound(SECONDS)
    pipe = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
    methods = [name for name in ("fast", "griffinlim", "vocoder") if name in METHODS]
    calls = {"the guide's road": lambda: guide(pipe, samples)}
    calls |= {f"kit, {name}": lambda name=name: kit(pipe, samples, name) for name in methods}
    # the guide's own script loads torch, diffusers and transformers too
    times = measure(calls, repeats=2 if quick else 5, lone=False)
    slow = times["the guide's road"]
    rows, ratios = [], {}
    for name, timing in times.items():
        ratios[name] = ratio(slow, timing)
        rows.append([
            name,
            seconds_text(timing),
            f"{SECONDS / timing.median:.3g}",
            "-" if timing is slow else ratio_text(ratios[name]),
            percent_of_limit(multiply_adds(calls[name]), timing.median),
        ])  # fmt: skip
    heading = ["", "time", "times real time", "times faster than the guide's road", "of limit"]
    return Section(
        "Tiny, end to end",
        "python -m benchmarks.tiny",
        f"{SECONDS} s from samples to samples with the bundled weights, {torch.get_num_threads()} "
        f"threads, SNR, correlation and RMSE included. Of the limit: what torch's products and "
        f"convolutions alone would take, FFTs not counted.\n\n{table(heading, rows)}",
        {"seconds": {k: t.seconds for k, t in times.items()}, "ratios": ratios},
    )


if __name__ == "__main__":
    main(run)
