"""Log-mel to samples by a transformers ``SpeechT5HifiGan``.

Three things about that model are easy to get wrong:

* **Layout.** It takes ``[B, T, 64]`` and transposes itself. For ``[B, 64, T]`` it raises "expected
  input[1, 500, 64] to have 64 channels, but got 500 channels instead", or, if ``T`` is 64, gives
  noise. Here the layout is checked first.
* **Length.** Its transposed convolutions need not multiply the length exactly: AudioLDM2's give
  ``160 T + 32`` samples (a kernel of 16 at a stride of 5). Here the result is cut to length.
* **Lag.** The geometry of these layers also delays the sound by 16 samples, unless training
  compensated that. :func:`measure_lag` measures it once for a model; a lag searched for every clip
  would improve sample-wise metrics unfairly.

The model runs in its own dtype on its own device; samples are float32 on that device.

Notebook: ``03_vocoder_dimension_fix``.

References
----------
.. [1] J. Kong, J. Kim, J. Bae, "HiFi-GAN", NeurIPS 2020.
.. [2] J. Ao et al., "SpeechT5", ACL 2022: the class ``SpeechT5HifiGan`` in transformers.
"""

import math
import warnings
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from vaerecon.audio.samples import ArrayLike
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import check_log_mel, log_mel
from vaerecon.models.placement import overflow_text
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.threads import device_of, one_by_one
from vaerecon.utils.windows import CHUNK_SECONDS, WindowPlan, overlap_windows

PROBE_FRAMES = 17  # mel frames of a lag probe: 8 of silence or fading sound around the middle one
PROBE_WIDTH = 80.0  # samples; standard deviation of the probe's Gaussian envelope (5 ms)


def n_samples_out(vocoder: Any, n_frames: int) -> int:
    """Samples that the model makes of ``n_frames``, before any cut (``160 T + 32`` for AudioLDM2).

    From the config: each ``ConvTranspose1d`` has kernel ``k``, stride ``s`` and padding
    ``(k - s) // 2``. The other layers keep the length.
    """
    config, n = vocoder.config, n_frames
    for stride, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        n = (n - 1) * stride - 2 * ((kernel - stride) // 2) + kernel
    return int(n)


def receptive_field(vocoder: Any) -> int:
    """Mel frames beyond its own, to either side, that a sample can depend on (23 for AudioLDM2).

    From the config, backwards from the first and the last sample of a frame: every convolution
    widens the range by half its dilated kernel, every transposed one divides it by its stride.
    """
    config = vocoder.config
    sizes = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    # in each residual block one dilated and one plain convolution for every dilation
    block = max(sum((k - 1) // 2 * (d + 1) for d in dilations) for k, dilations in sizes)
    first, last = 0, math.prod(config.upsample_rates) - 1  # samples of frame 0
    first, last = first - 3, last + 3  # conv_post, 7 taps
    upsamplers = list(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True))
    for stride, kernel in reversed(upsamplers):
        first, last = first - block, last + block
        # input i reaches outputs i * stride - padding + 0 ... kernel - 1
        padding = (kernel - stride) // 2
        first = math.ceil((first + padding - kernel + 1) / stride)
        last = math.floor((last + padding) / stride)
    reach: int = max(-(first - 3), last + 3)  # conv_pre, 7 taps
    return reach


@torch.no_grad()
@without_autocast
def vocode(
    vocoder: Any, log_mel: ArrayLike, n_samples: int | None = None, lag: int = 0,
    chunk_seconds: float = CHUNK_SECONDS,
) -> torch.Tensor:  # fmt: skip
    """Turn a log-mel ``[T, 64]`` or ``[B, T, 64]``, nepers, into samples.

    Parameters
    ----------
    n_samples
        Length of the result, filled up with zeros; the hop times ``T`` by default.
    lag
        Samples by which the model is late, from :func:`measure_lag`: removed from the front.
    chunk_seconds
        Longest stretch that is computed at once. The windows of a longer mel overlap by what a
        sample can depend on (:func:`receptive_field`): the same samples up to rounding.

    Returns
    -------
    torch.Tensor
        ``[n_samples]`` or ``[B, n_samples]``, -1..1, float32, on the model's device. ValueError for
        another layout, ``n_samples`` below 1, ``chunk_seconds`` below eight receptive fields, or if
        the input or the result is not finite.
    """
    x = check_log_mel(log_mel, replace(AUDIOLDM_MEL, n_mels=vocoder.config.model_in_dim))
    if not torch.isfinite(x).all():
        raise ValueError("log-mel: got NaN or infinite values, expected finite ones")
    hop, n_frames = math.prod(vocoder.config.upsample_rates), x.shape[-2]
    if n_samples is None:
        n_samples = hop * n_frames
    if n_samples < 1:
        raise ValueError(f"n_samples: got {n_samples}, expected at least 1")

    def samples_of(start: int, stop: int) -> torch.Tensor:
        own = _run(vocoder, x[..., start:stop, :])
        # a negative pad cuts: lag samples off the front, and behind what the next window gives
        end = own.shape[-1] - lag if stop == n_frames else (stop - start) * hop
        return F.pad(own, (-lag, end + lag - own.shape[-1]))

    reach = receptive_field(vocoder) + math.ceil(abs(lag) / hop)
    rate = AUDIOLDM_MEL.frames_per_second
    chunk = round(chunk_seconds * rate)
    plan = WindowPlan(chunk if n_frames > chunk else max(chunk, 8 * reach), 2 * reach, 0, rate)
    pieces = list(overlap_windows(n_frames, samples_of, plan, unit=hop, stage="vocoder"))
    samples = torch.cat(pieces, dim=-1)
    return F.pad(samples, (0, n_samples - samples.shape[-1]))


def _run(vocoder: Any, mel: torch.Tensor) -> torch.Tensor:
    """The model's whole output, checked to be finite."""
    single = mel.ndim == 2
    batch = mel[None] if single else mel  # always a batch: [B, T, M] in, [B, N] out
    samples = one_by_one(vocoder, batch.to(device_of(vocoder), vocoder.dtype)).to(torch.float32)
    if not torch.isfinite(samples).all():
        raise ValueError(f"vocoder: gave NaN or infinite samples; {overflow_text(vocoder)}")
    return samples[0] if single else samples


def _lag_probes() -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels of short bursts of white noise ``[4, T, 64]``, and where each is centred ``[4]``.

    Every burst is mirror-symmetric, and for each one that is centred before the middle of a frame
    another is centred as far behind it: a model without lag answers them symmetrically.
    """
    generator = torch.Generator().manual_seed(0)
    n_samples = PROBE_FRAMES * AUDIOLDM_MEL.hop_length
    middle = AUDIOLDM_MEL.frame_center(PROBE_FRAMES // 2)
    bursts, centers = [], []
    for offset in (20, 60):  # samples; with their negatives, even steps through one hop of 160
        noise = torch.randn(n_samples, generator=generator, dtype=torch.float32)
        for center in (middle - offset, middle + offset):
            distance = (torch.arange(n_samples) - center).abs()
            envelope = torch.exp(-0.5 * (distance.float() / PROBE_WIDTH) ** 2)
            bursts.append(0.15 * noise[distance.clamp_max(n_samples - 1)] * envelope)
            centers.append(center)
    return log_mel(torch.stack(bursts), normalize=False), torch.tensor(centers)


@torch.no_grad()
@without_autocast
def measure_lag(vocoder: Any) -> int:
    """By how many samples a vocoder's sound is later than its mel; negative if it is earlier.

    Measured with four mirror-symmetric bursts of white noise of known position, 5 ms wide, in
    digital silence. The lag is the centre of energy of the change that a burst makes in the output,
    minus the burst's own centre, averaged over the bursts and rounded. It is deterministic, takes
    as long as 0.85 s of sound, and means nothing for untrained weights.

    0, with a warning, for a model that does not respond to the bursts. ValueError for another
    number of mel bins, or values that are not finite.
    """
    mels, centers = _lag_probes()
    silence = torch.full_like(mels[:1], AUDIOLDM_MEL.log_floor)
    n_samples = n_samples_out(vocoder, PROBE_FRAMES)
    # float64 on the CPU, because MPS has none
    samples = vocode(vocoder, torch.cat([silence, mels]), n_samples).cpu().double()
    energy = (samples[1:] - samples[:1]) ** 2
    total = energy.sum(dim=-1)
    if (total == 0).any():
        warnings.warn(
            "vocoder does not respond to sound in its log-mel (untrained?): lag taken as 0",
            stacklevel=2,
        )
        return 0
    center = (energy * torch.arange(n_samples)).sum(dim=-1) / total
    # a frame is centred at 160 i + 80, the 160 samples that it stands for at 160 i + 79.5
    return round(float((center - centers).mean()) + 0.5)
