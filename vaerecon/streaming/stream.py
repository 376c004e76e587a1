"""Process sound in real time, while it is recorded or played.

A stream computes :class:`vaerecon.ReconstructionPipeline` in blocks. Its stages wait only for the
future samples that they need, and never change returned samples. A stream cannot know two
properties of the whole clip: the peak, by which the front-end scales (``gain`` below), and the
statistics of the VAE's group normalisations
(:meth:`vaerecon.ReconstructionPipeline.calibrate`). The mean is not removed.

Notebook: ``08_real_time``.
"""

import math
from contextlib import nullcontext

import torch

from vaerecon.audio.samples import PEAK, ArrayLike, as_samples
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models.autoencoder import reduction, window_coders
from vaerecon.models.precision import LARGE
from vaerecon.models.vocoder import receptive_field, vocode
from vaerecon.phase.mel_inversion import fit_to_mel, mel_to_magnitude
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.streaming.resampling import resampler

from vaerecon.streaming.stages import FIRST, HOP, N_FFT, PADDING  # isort: skip
from vaerecon.streaming.stages import MelStage, PhaseStage, Stage, WindowStage
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.numbers import is_number
from vaerecon.utils.threads import keep_freed_memory, on_one_core

RATE = AUDIOLDM_MEL.sample_rate
FRAME = HOP / RATE  # s
METHODS = ("fast", "griffinlim", "vocoder")
VAE_PAST = 24  # mel frames of context before a block, for encoder and decoder (240 ms)
NETWORK_PAST = 12  # mel frames of context before a block, for the network of `fast`
STEPS = {"fast": 8, "griffinlim": 12}  # Griffin-Lim iterations per block
RELEASE = 10.0  # s in which the running peak falls by half
START, QUIET = 0.1, 0.02  # initial running peak; lowest peak, which limits the gain


class Stream:
    """Pipeline for a sound that arrives in pieces; its output is delayed by :attr:`latency`.

    Parameters
    ----------
    pipe
        With statistics (:meth:`vaerecon.ReconstructionPipeline.calibrate`) if ``through_vae``.
    block
        Seconds computed at once: a multiple of 0.04 through the VAE, whose latent has one position
        per 4 mel frames, of 0.01 without it.
    look_ahead
        Seconds of future context of the encoder and of the decoder, each, a multiple of 0.04; the
        method has a quarter of it, in whole 20 ms. Without the VAE the method has all of it, and it
        may be as low as -0.03: then samples are returned before all frames that contain them.
    method
        ``"fast"`` or ``"griffinlim"``; or ``"vocoder"``, which waits for its whole receptive field.
    through_vae
        False: the method gets the mel of the sound.
    gain
        Factor that scales the sound to a peak of 0.5, as the models expect; undone at the output.
        By default from a running peak, which falls by half in 10 s.
    sample_rate
        Hz, of input and output; if it is not 16000 both are resampled (included in the latency).

    Attributes
    ----------
    latency : int
        Delay of the output in samples at ``sample_rate``.
    latency_by_stage : dict
        Parts of the latency by stage, in seconds; their sum is the latency.

    Raises
    ------
    ValueError
        For invalid settings, or a ``pipe`` without statistics.
    """

    def __init__(
        self, pipe: ReconstructionPipeline, block: float = 0.04, look_ahead: float = 0.08,
        method: str = "fast", through_vae: bool = True, gain: float | None = None,
        sample_rate: int = RATE,
    ):  # fmt: skip
        if method not in METHODS:
            raise ValueError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
        if gain is not None and not (is_number(gain) and 0 < gain < math.inf):
            raise ValueError(f"gain: got {gain!r}, expected a number above 0, or None")
        if not (is_number(sample_rate) and 8000 <= sample_rate <= 384000):
            raise ValueError(f"sample_rate: got {sample_rate!r}, expected 8000 to 384000 Hz")
        grid = reduction(pipe.vae) if through_vae else 1  # frames
        self.pipe, self.method, self.gain = pipe, method, gain
        self.sample_rate = int(sample_rate)
        self.device = pipe._execution_device
        self.frames = _frames(block, "block", grid, grid)
        ahead = _frames(look_ahead, "look_ahead", grid, 0 if through_vae else -3)
        self.vae = pipe.fixed_vae() if through_vae else None
        self.ahead = {"encoder": ahead, "decoder": ahead} if through_vae else {}
        self.ahead[method] = ahead // 8 * 2 if through_vae else ahead
        self.lag = pipe.lag if method == "vocoder" else 0
        if method == "vocoder":
            self.ahead[method] = receptive_field(pipe.vocoder) + math.ceil(abs(self.lag) / HOP)
        self._threads = nullcontext if self._splits_work() else on_one_core
        self._begin()
        self.latency = self._latency()
        self.latency_by_stage = self._by_stage()

    def _splits_work(self) -> bool:
        """Whether operations may use more than one core: for a large model, or on a GPU."""
        size = sum(p.numel() for p in self.vae.parameters()) if self.vae else 0
        return size >= LARGE or self.device.type != "cpu"

    def _begin(self) -> None:
        """Reset the state to that before the first sample."""
        keep_freed_memory()
        self._into = resampler(self.sample_rate, RATE)
        self._out_of = resampler(RATE, self.sample_rate)
        self._stages: list[Stage] = [MelStage(), *self._models()]
        self._pending = self._ready = torch.zeros(0, 1)  # not yet computed; not yet returned
        self._gains = torch.ones(0, 1)  # gains of the samples inside the stages
        self._peak = START
        self._in = self._out = self._next = 0  # samples in and out; samples until the next block
        self._next = self._complete(1)

    def _models(self) -> list[Stage]:
        """Return the stages from log-mel to samples."""
        pipe, device, ahead = self.pipe, self.device, self.ahead[self.method]
        stages: list[Stage] = []
        if self.vae is not None:
            grid = reduction(self.vae)
            encode, decode = window_coders(self.vae)
            stages.append(WindowStage(encode, VAE_PAST, self.ahead["encoder"], grid))
            past, latents = VAE_PAST // grid, self.ahead["decoder"] // grid
            stages.append(WindowStage(decode, past, latents, 1, grid))
        if self.method == "vocoder":

            def voice(mel: torch.Tensor) -> torch.Tensor:
                return vocode(pipe.vocoder, mel, lag=self.lag).reshape(-1, HOP)

            return [*stages, WindowStage(voice, ahead, ahead)]
        network = pipe._fast_network() if self.method == "fast" else None

        def magnitude(mel: torch.Tensor, first: int) -> torch.Tensor:
            if network is None:
                return mel_to_magnitude(mel[first:], n_iter=5)
            return fit_to_mel(network(mel.to(device)[None])[0, first:].exp(), mel[first:])

        past = 0 if network is None else NETWORK_PAST
        return [*stages, PhaseStage(magnitude, past, ahead, STEPS[self.method])]

    def _complete(self, block: int) -> int:
        """Return the samples at 16 kHz that the frames of blocks up to ``block`` (1, ...) need."""
        return (block * self.frames - 1) * HOP + FIRST

    def _final(self, block: int) -> int:
        """Return the samples at 16 kHz that are final after ``block`` blocks."""
        window = 0 if self.method == "vocoder" else PADDING
        return (block * self.frames - sum(self.ahead.values())) * HOP - window

    def _latency(self) -> int:
        """Return the largest difference between the numbers of samples in and samples out."""
        if self.sample_rate == RATE:
            return self._complete(1) - self._final(0)
        into, out_of, delays = self._into, self._out_of, []
        for block in range(100, 200):  # groups of the resamplers and blocks align periodically
            came = math.ceil(self._complete(block + 1) / into.gives) * into.takes + into.ahead
            out = (self._final(block) - out_of.ahead) // out_of.takes * out_of.gives
            delays.append(came - out)
        return max(delays)

    def _by_stage(self) -> dict[str, float]:
        window = (N_FFT - HOP) / RATE / (2 if self.method == "vocoder" else 1)
        stages = {"block": self.frames * FRAME, "window": window}
        stages |= {name: frames * FRAME for name, frames in self.ahead.items()}
        if self.sample_rate != RATE:
            stages["resampling"] = self.latency / self.sample_rate - sum(stages.values())
        return stages

    @torch.no_grad()
    @without_autocast
    def push(self, samples: ArrayLike) -> torch.Tensor:
        """Take the next samples ``[N]`` and return as many (``[N]``, float32, on the CPU).

        The first :attr:`latency` returned samples are zeros. Pieces may have any length.

        Raises
        ------
        ValueError
            For another shape or values that are not finite, and then nothing is processed; or if a
            model returns values that are not finite.
        """
        x = as_samples(samples) if len(samples) else torch.zeros(0)
        if x.ndim != 1:
            raise ValueError(f"samples: got shape {list(x.shape)}, expected [N]: one channel")
        self._feed(x, last=False)
        return self._take(len(x))

    @torch.no_grad()
    @without_autocast
    def flush(self) -> torch.Tensor:
        """End the sound and return its last :attr:`latency` samples.

        Samples that are pushed afterwards are a new sound.
        """
        if self._in:
            self._feed(torch.zeros(0), last=True)
        rest = self._take(self.latency)
        self._begin()
        return rest

    def _feed(self, x: torch.Tensor, last: bool) -> None:
        self._in += len(x)
        new = x.cpu()[:, None]
        if self.sample_rate != RATE:
            new = _some(self._into.push(new, last))
        self._pending = torch.cat([self._pending, new])
        with self._threads():
            while len(self._pending) >= self._next and not last:
                block, self._pending = self._pending.tensor_split([self._next])
                self._next = self.frames * HOP
                self._compute(block, last)
            if last:
                self._compute(self._pending, last)

    def _compute(self, block: torch.Tensor, last: bool) -> None:
        """Send a block through all stages."""
        gains = self._level(block)
        self._gains = torch.cat([self._gains, gains])
        values = block * gains
        for stage in self._stages:
            new = stage.push(values, last)
            if new is None:
                return
            values = new.to(self.device)
        sound = values.cpu().reshape(-1, 1)
        if not sound.isfinite().all():
            raise ValueError("stream: got NaN or infinite samples; load with dtype='float32'")
        sound = sound[: len(self._gains)] / self._gains[: len(sound)]
        self._gains = self._gains[len(sound) :]
        if self.sample_rate != RATE:
            sound = _some(self._out_of.push(sound, last))
        self._ready = torch.cat([self._ready, sound])

    def _level(self, block: torch.Tensor) -> torch.Tensor:
        """Return the gain of each sample, fixed or 0.5 / running peak, ``[n, 1]``."""
        if self.gain is not None:
            return torch.full_like(block, self.gain)
        # the largest of the samples so far, each times 0.5 ** (time since it / RELEASE)
        fall = 0.5 ** (torch.arange(1, len(block) + 1, dtype=torch.float64) / (RATE * RELEASE))
        grown = (block[:, 0].abs().double() / fall).cummax(0).values
        peak = grown.clamp_min(self._peak) * fall
        if len(peak):
            self._peak = float(peak[-1])
        return (PEAK / peak.clamp_min(QUIET)).float()[:, None]

    def _take(self, n: int) -> torch.Tensor:
        """Return the next ``n`` samples: zeros for the latency, then the sound."""
        zeros = min(n, max(0, self.latency - self._out))
        sound = self._ready[: n - zeros, 0]
        self._ready = self._ready[n - zeros :]
        self._out += n
        missing = n - zeros - len(sound)  # only at the end of a sound too short for a frame
        return torch.cat([torch.zeros(zeros), sound, torch.zeros(missing)])


def _some(samples: torch.Tensor | None) -> torch.Tensor:
    return torch.zeros(0, 1) if samples is None else samples


def _frames(seconds: float, name: str, grid: int, least: int) -> int:
    """Convert seconds to mel frames; ValueError if not a multiple of ``grid``, or too few."""
    frames = round(seconds / FRAME) if is_number(seconds) and abs(seconds) < 1e6 else least - 1
    if frames < least or frames % grid or abs(frames * FRAME - seconds) > 1e-6:
        why = f": a latent position is {grid} mel frames of {FRAME:g} s" if grid > 1 else ""
        raise ValueError(
            f"{name}: got {seconds!r}, expected a multiple of {grid * FRAME:g} s, at least "
            f"{least * FRAME:g}{why}"
        )
    return frames
