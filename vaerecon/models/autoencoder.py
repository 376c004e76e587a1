"""Log-mel to latent and back, by a diffusers ``AutoencoderKL``.

The model takes a mel as a picture ``[B, 1, T, 64]``; here a log-mel is ``[T, 64]`` or
``[B, T, 64]`` and a latent ``[8, T/4, 16]`` or ``[B, 8, T/4, 16]``, with a batch axis in the result
if there was one in the input.

Latents are unscaled: they are what ``vae.encode`` gives, not what AudioLDM2's UNet sees. The
checkpoint's ``scaling_factor`` multiplies on the way to the UNet and divides on the way back, so
in a round trip it cancels. Multiply by ``vae.config.scaling_factor`` to hand a latent to the UNet.

The model runs in its own dtype on its own device; results are float32 on that device.

Memory does not grow with the length: up to ``chunk_seconds`` (30) the model sees the whole; longer
inputs are processed in windows that overlap by 2 s (:mod:`vaerecon.utils.windows`), more than its
convolutions reach. The statistics of the group normalisations and the attention are then those of
the window; ``python -m benchmarks.length --vae-only`` measures what that changes in the mel.

Notebook: ``02_vae_round_trip``.

References
----------
.. [1] D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014: the posterior and
   its KL divergence.
.. [2] H. Liu et al., "AudioLDM 2", IEEE/ACM TASLP 2024.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from vaerecon.audio.buffers import MemoryTrack
from vaerecon.audio.samples import ArrayLike, Reader
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import check_log_mel
from vaerecon.models.placement import overflow_text
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.threads import device_of, one_by_one
from vaerecon.utils.windows import CHUNK_SECONDS, overlap_windows, plan_windows

Coder = Callable[[torch.Tensor], torch.Tensor]


def reduction(vae: Any) -> int:
    """Mel frames (and mel bins) per latent position: each block but the last halves (4)."""
    halvings: int = len(vae.config.block_out_channels) - 1
    return int(2**halvings)


def check_latent(vae: Any, latent: ArrayLike) -> torch.Tensor:
    """``latent`` as float32 ``[8, L, 16]`` or ``[B, 8, L, 16]``; ValueError for another layout."""
    x = torch.as_tensor(latent)
    channels, width = vae.config.latent_channels, AUDIOLDM_MEL.n_mels // reduction(vae)
    shape, layout = list(x.shape), f"[{channels}, L, {width}] or [B, {channels}, L, {width}]"
    if x.ndim not in (3, 4) or shape[-3] != channels or shape[-1] != width or shape[-2] == 0:
        hint = "; get one from vaerecon's encode"
        if x.ndim in (3, 4) and shape[-3] == channels and shape[-2] == width:
            hint = "; it looks transposed: use .transpose(-1, -2)"
        elif x.ndim in (3, 4) and shape[-1] == channels and shape[-2] == width:
            hint = "; its channels come last: use .movedim(-1, -3)"
        raise ValueError(f"latent: got shape {shape}, expected {layout}{hint}")
    return x.to(torch.float32)


def _check_finite(x: torch.Tensor, stage: str, cause: str) -> None:
    if not torch.isfinite(x).all():
        raise ValueError(f"{stage}: got NaN or infinite values, expected finite ones; {cause}")


def _in_windows(
    vae: Any, function: Coder, read: Reader, n_positions: int, config: MelConfig,
    chunk_seconds: float, unit: int, stage: str,
) -> Iterator[torch.Tensor]:  # fmt: skip
    """``function`` of a long input, piece by piece along axis -2.

    ``read`` gives sections ``[C, ., .]`` or ``[B, C, ., .]`` from one latent position to another;
    ``function`` takes batches, and gives ``unit`` values for each position.
    """

    def window(start: int, stop: int) -> torch.Tensor:
        x = read(start, stop)
        # the layout in memory decides how the library convolves, and so the last bits: always one
        batch = (x[None] if x.ndim == 3 else x).contiguous()
        found = one_by_one(function, batch.to(device_of(vae), vae.dtype)).float()
        _check_finite(found, stage, overflow_text(vae))
        return found[0] if x.ndim == 3 else found

    plan = plan_windows(chunk_seconds, config.frames_per_second / reduction(vae))
    yield from overlap_windows(n_positions, window, plan, unit=unit, axis=-2, stage=stage)


@torch.no_grad()
@without_autocast
def posterior(
    vae: Any, log_mel: ArrayLike, chunk_seconds: float = CHUNK_SECONDS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance of the latent's normal distribution, given a log-mel.

    ``log_mel`` is ``[T, 64]`` or ``[B, T, 64]``, nepers; a ``T`` that is no multiple of
    :func:`reduction` is padded with silence, the front-end's ``log_floor`` (-11.51; 0.0 would be a
    loud frame). Returns ``[8, ceil(T/4), 16]`` or ``[B, 8, ceil(T/4), 16]`` each, float32, on the
    model's device; unscaled. ValueError for another layout, or if the input or the result is not
    finite.
    """
    x = check_log_mel(log_mel)
    read = MemoryTrack(x, -2).read
    pieces = list(posterior_pieces(vae, read, x.shape[-2], chunk_seconds=chunk_seconds))
    both = torch.cat(pieces, dim=-2)
    return both[..., 0, :, :, :], both[..., 1, :, :, :]


def posterior_pieces(
    vae: Any, read: Reader, n_frames: int, config: MelConfig = AUDIOLDM_MEL,
    chunk_seconds: float = CHUNK_SECONDS,
) -> Iterator[torch.Tensor]:  # fmt: skip
    """:func:`posterior` of ``n_frames`` that are read in sections, piece by piece.

    Yields mean and log-variance: ``[2, 8, l, 16]`` or ``[B, 2, 8, l, 16]``.
    """
    frames = reduction(vae)  # per latent position

    def encoded(picture: torch.Tensor) -> torch.Tensor:
        found = vae.encode(picture).latent_dist
        return torch.stack([found.mean, found.logvar], dim=1)  # [B, 2, 8, l, 16]

    def section(start: int, stop: int) -> torch.Tensor:
        x = read(start * frames, min(stop * frames, n_frames))
        _check_finite(x, "log-mel", "clean the samples that it was computed from")
        x = F.pad(x, (0, 0, 0, -x.shape[-2] % frames), value=config.log_floor)
        # [T, M] -> [1, T, M]; [B, T, M] -> [B, 1, T, M]: a picture with one channel
        return x.unsqueeze(-3)

    n_positions = math.ceil(n_frames / frames)
    return _in_windows(vae, encoded, section, n_positions, config, chunk_seconds, 1, "VAE encoder")


def kl_nats(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL divergence of a posterior from the standard normal, in nats per latent value [1]_.

    ``[8, L, 16]`` or ``[B, 8, L, 16]`` each, to a scalar or ``[B]``; gradients pass.
    """
    return 0.5 * (mean**2 + logvar.exp() - 1.0 - logvar).mean(dim=(-3, -2, -1))


@torch.no_grad()
@without_autocast
def encode(
    vae: Any, log_mel: ArrayLike, sample: bool = False, generator: torch.Generator | None = None,
    chunk_seconds: float = CHUNK_SECONDS,
) -> torch.Tensor:  # fmt: skip
    """Encode a log-mel to a latent: the mode of its :func:`posterior`, or a sample of it.

    ``sample=True`` draws from the posterior with ``generator``, as the official code does. Returns
    ``[8, ceil(T/4), 16]`` or ``[B, 8, ceil(T/4), 16]``, float32, unscaled (module docstring).
    ValueError as of :func:`posterior`; also for ``sample=True`` without a generator.
    """
    if sample and generator is None:
        raise ValueError("generator: got None, expected a torch.Generator with sample=True; for "
                         "example torch.Generator().manual_seed(0)")  # fmt: skip
    mean, logvar = posterior(vae, log_mel, chunk_seconds)
    return mean if not sample or generator is None else draw(mean, logvar, generator)


def draw(mean: torch.Tensor, logvar: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A sample of the posterior."""
    noise = torch.randn(
        mean.shape, generator=generator, device=generator.device, dtype=torch.float32
    )
    return mean + (0.5 * logvar).exp() * noise.to(mean.device)


@torch.no_grad()
@without_autocast
def decode(
    vae: Any, latent: ArrayLike, n_frames: int | None = None, chunk_seconds: float = CHUNK_SECONDS
) -> torch.Tensor:
    """Decode a latent ``[8, L, 16]`` or ``[B, 8, L, 16]``, unscaled, to a log-mel.

    ``n_frames`` are kept: the ``T`` that was encoded, without its padding; all 4 L by default.
    Returns ``[n_frames, 64]`` or ``[B, n_frames, 64]``, nepers, float32, on the model's device.
    Values slightly below the front-end's floor are possible: the model does not know it. ValueError
    for another layout, ``n_frames`` out of range, or if the input or result is not finite.
    """
    z = check_latent(vae, latent)
    _check_finite(z, "latent", "an edit of it divided by zero or overflowed?")
    frames = z.shape[-2] * reduction(vae)
    if n_frames is not None and not 1 <= n_frames <= frames:
        raise ValueError(
            f"n_frames: got {n_frames}, expected 1 to {frames}, {reduction(vae)} a latent position"
        )
    read = MemoryTrack(z, -2).read
    pieces = list(decoded_pieces(vae, read, z.shape[-2], chunk_seconds=chunk_seconds))
    return torch.cat(pieces, dim=-2)[..., :n_frames, :]


def decoded_pieces(
    vae: Any, read: Reader, n_positions: int, config: MelConfig = AUDIOLDM_MEL,
    chunk_seconds: float = CHUNK_SECONDS,
) -> Iterator[torch.Tensor]:  # fmt: skip
    """:func:`decode` of ``n_positions`` that are read in sections, piece by piece."""

    def decoded(batch: torch.Tensor) -> torch.Tensor:
        # [B, 1, T, M] -> [B, T, M]: the picture's one channel goes
        picture: torch.Tensor = vae.decode(batch).sample
        return picture[:, 0]

    unit = reduction(vae)
    return _in_windows(vae, decoded, read, n_positions, config, chunk_seconds, unit, "VAE decoder")


def window_coders(vae: Any) -> tuple[Coder, Coder]:
    """:func:`encode` and :func:`decode` of one short window after another, without their checks,
    which take as long as a small model itself: ``[T, 64]`` to ``[8, ceil(T/4), 16]`` and back.
    """
    device, dtype, frames = device_of(vae), vae.dtype, reduction(vae)

    def encode_window(mel: torch.Tensor) -> torch.Tensor:
        x = F.pad(mel, (0, 0, 0, -len(mel) % frames), value=AUDIOLDM_MEL.log_floor)
        # [T, M] -> [1, 1, T, M]: a picture with one channel
        mean: torch.Tensor = vae.encode(x[None, None].to(device, dtype)).latent_dist.mean
        return mean[0].float()

    def decode_window(latent: torch.Tensor) -> torch.Tensor:
        picture: torch.Tensor = vae.decode(latent[None].to(device, dtype)).sample
        return picture[0, 0].float()

    return encode_window, decode_window


def vae_hash(vae: Any) -> str:
    """16 hexadecimal digits that name a VAE's weights, as they are in bfloat16."""
    digest = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        rounded = tensor.to("cpu", torch.bfloat16).contiguous()
        digest.update(name.encode() + rounded.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
