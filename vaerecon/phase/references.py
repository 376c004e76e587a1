"""Methods for comparison: librosa's inversion, a ceiling and a reference.

The last two use the original: the ceiling takes its phase, the reference its magnitude.

Notebook: ``04_method_comparison``.
"""

import math

import numpy as np
import torch

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.mel.config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.mel.front_end import check_log_mel, magnitudes, stft_frames
from vaerecon.mel.stft import check_n_samples, istft_frames
from vaerecon.phase.mel_inversion import fit_to_mel, mel_to_magnitude
from vaerecon.phase.retrieval import griffin_lim
from vaerecon.utils.autocast import without_autocast


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
    """Invert by ``librosa.feature.inverse.mel_to_audio`` as in the original guide (its defaults).

    Non-negative least squares, then fast Griffin-Lim from random phase (``generator``; default:
    seed 0). Two things are adapted to this kit's mel. It has magnitudes, so ``power`` is 1. And
    librosa centres frame ``i`` at sample ``160 i``, as ``"inference"`` does; for ``"train"``
    (``160 i + 80``) the first and the last frame are repeated outwards, as the front-end's
    reflection does, and the 80 samples before the clip are cut off.

    ``[T, 64]`` or ``[B, T, 64]``, nepers, to ``[N]`` or ``[B, N]``, float32, on the same device;
    ``ValueError`` if ``n_samples`` samples do not have the frames of the mel.
    """
    import librosa

    x = check_log_mel(log_mel, config)
    check_n_samples(x.shape[-2], n_samples, config, framing)
    generator = generator or torch.Generator().manual_seed(0)
    head = int(framing == "train")
    # librosa warns about sounds shorter than a window: repeat the last frame up to its length
    tail = max(head, math.ceil(config.n_fft / config.hop_length) + 1 - x.shape[-2])
    start = -config.frame_center(-head, framing)  # of the clip in librosa's output
    # the same seed for every clip, so that its result does not depend on the batch
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    clips = []
    for mel in x.reshape(-1, *x.shape[-2:]).exp().cpu().numpy():
        # [T, M] -> librosa's [M, T]
        padded = np.pad(mel.T, ((0, 0), (head, tail)), mode="edge")
        # mel_to_audio consists of these two calls, but does not pass a random state
        magnitude = librosa.feature.inverse.mel_to_stft(
            padded, sr=config.sample_rate, n_fft=config.n_fft, power=1.0, fmin=config.fmin,
            fmax=config.fmax,
        )  # fmt: skip
        audio = librosa.griffinlim(
            magnitude, n_iter=n_iter, hop_length=config.hop_length, n_fft=config.n_fft,
            win_length=config.win_length, random_state=seed,
        )  # fmt: skip
        clips.append(torch.from_numpy(audio[start : start + n_samples].copy()))
    return torch.stack(clips).reshape(*x.shape[:-2], n_samples).to(x.device, torch.float32)


@torch.no_grad()
@without_autocast
def oracle_phase(
    log_mel: ArrayLike,
    original: ArrayLike,
    *,
    n_iter: int = 25,
    momentum: float = 0.95,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Compute a ceiling: a sound constrained to the mel, with the original's phase at every step.

    An iteration takes the magnitude of the current sound, corrects it by one step of
    :func:`vaerecon.phase.mel_inversion.fit_to_mel`, and computes a sound from it with the
    original's phase. ``momentum`` as in :func:`vaerecon.phase.retrieval.griffin_lim`.

    From the same mel it is better than every method that does not use the original, in each metric
    that is ``bounded`` (``python -m benchmarks.quality``). It is no limit of what 64 mel bins can
    represent: frames overlap by 84 %, so the true phase also determines magnitudes.

    Mel ``[T, 64]`` or ``[B, T, 64]``, nepers, and original ``[N]`` or ``[B, N]`` at peak 0.5 to
    float32 samples of the original's shape; ValueError if the numbers of frames differ.
    """
    samples = as_samples(original)
    mel = check_log_mel(log_mel, config).to(samples.device)
    n_samples = samples.shape[-1]
    check_n_samples(mel.shape[-2], n_samples, config, framing)
    phase = stft_frames(samples, config, framing).angle()
    magnitude = mel_to_magnitude(mel, config)
    signal = previous = istft_frames(torch.polar(magnitude, phase), n_samples, config, framing)
    for _ in range(n_iter):
        ahead = torch.lerp(previous, signal, 1 + momentum)
        magnitude = magnitudes(stft_frames(ahead, config, framing))
        magnitude = fit_to_mel(magnitude, mel, config, n_iter=1)
        spectrum = torch.polar(magnitude, phase)
        previous, signal = signal, istft_frames(spectrum, n_samples, config, framing)
    return signal


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
    """Compute a reference: the magnitude of the original with the phase of :func:`griffin_lim`.

    It shows the loss of phase retrieval alone. It is not a ceiling: its phase is estimated too, so
    any method may be better in SNR and SI-SDR.
    """
    samples = as_samples(original)
    magnitude = magnitudes(stft_frames(samples, config, framing))
    return griffin_lim(
        magnitude, samples.shape[-1], n_iter=n_iter, generator=generator, config=config,
        framing=framing,
    )  # fmt: skip
