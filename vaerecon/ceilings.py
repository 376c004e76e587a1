"""What the methods are compared with: librosa's inversion, and the two ceilings.

The ceilings see the original: one takes its phase, the other its magnitude, so that what the mel
lost and what phase retrieval loses can be told apart.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from vaerecon.autocast import without_autocast
from vaerecon.istft import check_n_samples
from vaerecon.mel import check_log_mel, magnitudes, stft_frames
from vaerecon.mel_config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.phase import default_generator, griffin_lim, mel_to_magnitude
from vaerecon.samples import ArrayLike, as_samples


@torch.no_grad()
@without_autocast
def librosa_mel_to_audio(
    log_mel: ArrayLike,
    n_samples: int,
    *,
    n_iter: int = 32,
    generator: torch.Generator | None = None,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """``librosa.feature.inverse.mel_to_audio`` at its defaults, as the original guide used it.

    Non-negative least squares, then fast Griffin-Lim from random phase. Two things are fitted to
    our mel. It holds magnitudes, so ``power`` is 1. And librosa centres frame ``i`` at sample
    ``160 i``, as ``"inference"`` does; for ``"train"`` (``160 i + 80``) the first and the last
    frame are repeated outwards, which is what the front-end's reflection makes of them, and the 80
    samples before the clip are cut off. So nothing is shifted and nothing is missing.

    Parameters
    ----------
    log_mel
        ``[T, 64]`` or ``[B, T, 64]`` (one after another), nepers.
    n_samples
        Samples wanted, N.
    generator
        Seeds librosa's random phase; default: seed 0.

    Returns
    -------
    torch.Tensor
        ``[N]`` or ``[B, N]``, float32, on the device of ``log_mel``.

    Raises
    ------
    ValueError
        If ``n_samples`` does not fit the frames.
    """
    import librosa

    x = check_log_mel(log_mel, config)
    check_n_samples(x.shape[-2], n_samples, config, framing)
    generator = default_generator(generator)
    head = int(framing == "train")
    # librosa warns below a window's length: repeat the last frame up to it
    tail = max(head, math.ceil(config.n_fft / config.hop_length) + 1 - x.shape[-2])
    start = -config.frame_center(-head, framing)  # of the clip in what librosa returns
    # the same for every clip of a batch, which is then what it is alone
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    clips = []
    for mel in x.reshape(-1, *x.shape[-2:]).exp().cpu().numpy():
        # [T, M] -> librosa's [M, T]
        padded = np.pad(mel.T, ((0, 0), (head, tail)), mode="edge")
        # mel_to_audio is these two calls, but passes no random state on
        magnitude = librosa.feature.inverse.mel_to_stft(
            padded,
            sr=config.sample_rate,
            n_fft=config.n_fft,
            power=1.0,
            fmin=config.fmin,
            fmax=config.fmax,
        )
        audio = librosa.griffinlim(
            magnitude,
            n_iter=n_iter,
            hop_length=config.hop_length,
            win_length=config.win_length,
            n_fft=config.n_fft,
            random_state=seed,
        )
        clips.append(torch.from_numpy(audio[start : start + n_samples].copy()))
    return torch.stack(clips).reshape(*x.shape[:-2], n_samples).to(x.device, torch.float32)


@torch.no_grad()
@without_autocast
def oracle_phase(
    log_mel: ArrayLike,
    original: ArrayLike,
    *,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Ceiling: the magnitude of :func:`mel_to_magnitude` with the phase of the original.

    ``original`` is ``[N]`` or ``[B, N]`` at the front-end's level; so is what returns.
    """
    samples = as_samples(original)
    magnitude = mel_to_magnitude(log_mel, config).to(samples.device)
    return griffin_lim(
        magnitude, samples.shape[-1], n_iter=0, init=samples, config=config, framing=framing
    )


@torch.no_grad()
@without_autocast
def oracle_magnitude(
    original: ArrayLike,
    *,
    n_iter: int = 32,
    generator: torch.Generator | None = None,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Ceiling: the magnitude of the original with the phase of :func:`griffin_lim`."""
    samples = as_samples(original)
    magnitude = magnitudes(stft_frames(samples, config, framing))
    return griffin_lim(
        magnitude,
        samples.shape[-1],
        n_iter=n_iter,
        generator=generator,
        config=config,
        framing=framing,
    )
