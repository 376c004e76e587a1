"""Sound in, sound out, while it is being made.

A stream is the flow of :class:`vaerecon.ReconstructionPipeline` in blocks. Its stages wait for what
they need of the future, no more, and what has left is never changed. Two things of the whole clip
a stream cannot know: the peak, by which the front-end scales (``gain`` below), and the statistics
of the VAE's group normalisations (:meth:`vaerecon.ReconstructionPipeline.calibrate`). The mean is
not removed.

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
VAE_PAST = 24  # mel frames before a block that encoder and decoder see (240 ms)
NETWORK_PAST = 12  # mel frames before a block that the network of `fast` sees
STEPS = {"fast": 8, "griffinlim": 12}  # of Griffin-Lim, a block
RELEASE = 10.0  # s in which the running peak falls by half
START, QUIET = 0.1, 0.02  # the running peak at first; below QUIET it counts as that


class Stream:
    """The flow on a sound that comes in pieces; what comes out is :attr:`latency` late.

    Parameters
    ----------
    pipe
        With statistics (:meth:`vaerecon.ReconstructionPipeline.calibrate`) if ``through_vae``.
    block
        Seconds that are computed at once: a multiple of 0.04 through the VAE, whose latent has one
        position for 4 mel frames, of 0.01 around it.
    look_ahead
        Seconds of the future that encoder and decoder see, each, a multiple of 0.04; the method
        sees a quarter of it, in whole 20 ms. Around the VAE it is all the method's, from -0.03 on:
        then the last samples are out before all frames that cover them are known.
    method
        ``"fast"`` or ``"griffinlim"``; or ``"vocoder"``, which always waits for all that it sees.
    through_vae
        False: the method gets the mel of the sound.
    gain
        Factor that brings the sound to a peak of 0.5, as the models expect; taken off at the end.
        By default that of the loudest sample so far, which is forgotten by half in 10 s.
    sample_rate
        Hz, of what comes in and goes out; other than 16000 it is resampled, inside the latency.

    Attributes
    ----------
    latency : int
        Samples, at ``sample_rate``, by which what comes out is late.
    latency_by_stage : dict
        The same in seconds; its values add up to it.

    Raises
    ------
    ValueError
        For settings that cannot be, or a ``pipe`` without statistics.
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
        """Whether an operation is worth more than one core: of a large model, or on a GPU."""
        size = sum(p.numel() for p in self.vae.parameters()) if self.vae else 0
        return size >= LARGE or self.device.type != "cpu"

    def _begin(self) -> None:
        """As if nothing had come in yet."""
        keep_freed_memory()
        self._into = resampler(self.sample_rate, RATE)
        self._out_of = resampler(RATE, self.sample_rate)
        self._stages: list[Stage] = [MelStage(), *self._models()]
        self._pending = self._ready = torch.zeros(0, 1)  # not yet computed; not yet given back
        self._gains = torch.ones(0, 1)  # of what is between
        self._peak = START
        self._in = self._out = self._next = 0  # samples so far; where the next block is complete
        self._next = self._complete(1)

    def _models(self) -> list[Stage]:
        """The stages from log-mel to samples."""
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
        """Samples at 16 kHz after which the last frame of a block (1, 2, ...) is known."""
        return (block * self.frames - 1) * HOP + FIRST

    def _final(self, block: int) -> int:
        """Samples at 16 kHz that are out after a block."""
        window = 0 if self.method == "vocoder" else PADDING
        return (block * self.frames - sum(self.ahead.values())) * HOP - window

    def _latency(self) -> int:
        """The most that ever lies between what came in and what is out."""
        if self.sample_rate == RATE:
            return self._complete(1) - self._final(0)
        into, out_of, found = self._into, self._out_of, []
        for block in range(100, 200):  # resampling has its own groups, over some blocks
            came = math.ceil(self._complete(block + 1) / into.gives) * into.takes + into.ahead
            out = (self._final(block) - out_of.ahead) // out_of.takes * out_of.gives
            found.append(came - out)
        return max(found)

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
        """The next samples ``[N]`` in, as many out (``[N]``, float32, on the CPU).

        The first :attr:`latency` samples that come out are zeros. Pieces may be of any length.

        Raises
        ------
        ValueError
            For another shape or values that are not finite, of which nothing is taken; or if a
            model gives values that are not finite.
        """
        x = as_samples(samples) if len(samples) else torch.zeros(0)
        if x.ndim != 1:
            raise ValueError(f"samples: got shape {list(x.shape)}, expected [N]: one channel")
        self._feed(x, last=False)
        return self._take(len(x))

    @torch.no_grad()
    @without_autocast
    def flush(self) -> torch.Tensor:
        """The sound has ended: the :attr:`latency` samples that are still to come.

        What is pushed afterwards is a new sound.
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
        found = block * gains
        for stage in self._stages:
            new = stage.push(found, last)
            if new is None:
                return
            found = new.to(self.device)
        sound = found.cpu().reshape(-1, 1)
        if not sound.isfinite().all():
            raise ValueError("stream: got NaN or infinite samples; load with dtype='float32'")
        sound = sound[: len(self._gains)] / self._gains[: len(sound)]
        self._gains = self._gains[len(sound) :]
        if self.sample_rate != RATE:
            sound = _some(self._out_of.push(sound, last))
        self._ready = torch.cat([self._ready, sound])

    def _level(self, block: torch.Tensor) -> torch.Tensor:
        """The factor of each sample: fixed, or 0.5 over the running peak, ``[n, 1]``."""
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
        """The next ``n`` samples: zeros for the time of the latency, then the sound."""
        zeros = min(n, max(0, self.latency - self._out))
        sound = self._ready[: n - zeros, 0]
        self._ready = self._ready[n - zeros :]
        self._out += n
        missing = n - zeros - len(sound)  # only at the end: of a sound too short for a frame
        return torch.cat([torch.zeros(zeros), sound, torch.zeros(missing)])


def _some(samples: torch.Tensor | None) -> torch.Tensor:
    return torch.zeros(0, 1) if samples is None else samples


def _frames(seconds: float, name: str, grid: int, least: int) -> int:
    """Seconds as mel frames, a multiple of ``grid``."""
    frames = round(seconds / FRAME) if is_number(seconds) and abs(seconds) < 1e6 else least - 1
    if frames < least or frames % grid or abs(frames * FRAME - seconds) > 1e-6:
        why = f": a latent position is {grid} mel frames of {FRAME:g} s" if grid > 1 else ""
        raise ValueError(
            f"{name}: got {seconds!r}, expected a multiple of {grid * FRAME:g} s, at least "
            f"{least * FRAME:g}{why}"
        )
    return frames
