"""The full-size models and phase retrieval on a CUDA device: 10 s clips, one and 64 at a time.

python -m benchmarks.gpu [--quick] [--json FILE]
"""

from __future__ import annotations

import torch

from benchmarks.common import (
    Section,
    main,
    matmul_rate,
    measure,
    multiply_adds,
    percent_of_limit,
    seconds_text,
    sound,
    synchronized,
    table,
)
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.models import autoencoder
from vaerecon.models.vocoder import vocode

SECONDS = 10
BATCHES = (1, 64)
DTYPE = "bfloat16"


def run(quick: bool = False) -> Section:
    """Every stage, or the reason why not."""
    title, command = "GPU", "python -m benchmarks.gpu"
    if not torch.cuda.is_available():
        return Section(
            title, command, "Skipped: torch sees no CUDA device here.", {"skipped": "no CUDA"}
        )
    from benchmarks.full_size import full_size

    device, dtype = "cuda", getattr(torch, DTYPE)
    mel = log_mel(torch.from_numpy(sound(SECONDS)))
    vae, vocoder = (model.to(device, dtype) for model in full_size(mel))
    rows, numbers = [], {}
    for count in BATCHES[: 1 if quick else None]:
        x = torch.from_numpy(sound(SECONDS)).to(device).repeat(count, 1)
        mels = log_mel(x)
        latents = autoencoder.encode(vae, mels)
        calls = {
            "log-mel": lambda x=x: log_mel(x),
            "VAE encode": lambda mels=mels: autoencoder.encode(vae, mels),
            "VAE decode": lambda latents=latents: autoencoder.decode(vae, latents),
            "vocoder": lambda mels=mels: vocode(vocoder, mels),
        }
        for name in ("griffinlim", "fast"):
            if name in METHODS:
                function, n = METHODS[name].function, x.shape[-1]
                calls[name] = lambda mels=mels, function=function, n=n: function(
                    mels, n, torch.Generator().manual_seed(0)
                )
        times = measure({k: synchronized(c, device) for k, c in calls.items()}, 3 if quick else 10)
        for name, timing in times.items():
            macs = multiply_adds(calls[name])
            rows.append([
                name,
                str(count),
                seconds_text(timing),
                f"{count * SECONDS / timing.median:.0f}",
                percent_of_limit(macs, timing.median, DTYPE, device) if macs else "-",
            ])  # fmt: skip
        stages = ("log-mel", "VAE encode", "VAE decode", "vocoder")
        total = sum(times[name].median for name in stages)
        speed = f"{count * SECONDS / total:.0f}"
        rows.append(["end to end, vocoder", str(count), f"{total:.3g} s", speed, "-"])
        numbers[str(count)] = {k: t.seconds for k, t in times.items()}
    heading = ["", "clips", "time", "times real time", "of limit"]
    rate = matmul_rate(DTYPE, device) / 1e12
    return Section(
        title,
        command,
        f"Clips of {SECONDS} s, full-size models in {DTYPE}. The limit is a product of large "
        f"matrices on this card: {rate:.0f} T multiply-adds a second.\n\n{table(heading, rows)}",
        numbers,
    )


if __name__ == "__main__":
    main(run)
