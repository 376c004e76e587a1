"""Reference and estimate to numbers: how far a reconstruction is from the original.

Conventions: every metric is a function ``(reference, estimate) -> float`` of one clip, ``[N]``
samples at 16 kHz each, numpy, torch or a list, of the same length and already aligned; it runs in
float64 on the CPU. :func:`evaluate` computes them all and never raises for an odd signal: what has
no value there is None, and ``scores.notes`` says why. (The functions raise
:class:`UndefinedScore` for it; an infinite value they return.) A peak at or below 1e-8 is silence.

========================= ============== ====== ===================================================
metric                    range          better what it tells, and what it does not
========================= ============== ====== ===================================================
snr_db                    -inf..inf dB   higher waveform error; see the note on phase
si_sdr_db                 -inf..inf dB   higher the same, blind to gain; -35 dB is normal here
correlation               -1..1          higher Pearson; the same, blind to gain and DC
rmse                      0..            lower  size of the waveform error; depends on the level
log_mel_mae               0.. nepers     lower  what the VAE works on; sees level, not phase
lsd_db                    0.. dB         lower  log spectra, every bin alike: also inaudible ones
spectral_convergence_db   -inf..inf dB   lower  magnitudes; only the loudest bins count
mrstft                    0..            lower  both of these at three resolutions, as losses do
pesq_wb                   1..4.64 MOS    higher speech quality; music and noise are off its ground
stoi                      0..1 (about)   higher speech intelligibility by band envelopes
estoi                     0..1 (about)   higher the same, stricter, for modulated maskers
visqol                    1..4.73 MOS    higher audio quality; saturates near its top
========================= ============== ====== ===================================================

Phase. The first four compare samples. A method that invents a phase gives sound that is incoherent
with the original (correlation near 0), however good it sounds; their numbers then measure loudness
only, and digital silence, at 0.00 dB SNR, beats it. Read them beside the spectral and perceptual
ones, with ``silence`` as a row of the table.

Level. The spectral metrics (log_mel_mae, lsd_db, spectral_convergence_db, mrstft) remove each
signal's mean and scale *both* by the *one* gain that brings the reference's peak to 0.5, as the mel
front-end does; ViSQOL, whose noise floor is absolute, gets the same. So they do not depend on how
loud the clip was recorded, and the spectral ones do see an estimate that is louder or softer than
its reference; a gain for each would hide that.

Notebook: ``04_method_comparison``.

References
----------
.. [1] J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019: SI-SDR.
.. [2] A. Gray and J. Markel, "Distance measures for speech processing", IEEE TASSP 1976: LSD.
.. [3] R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020: multi-resolution STFT.
.. [4] ITU-T P.862.2, 2007: PESQ, wide band; package ``pesq``.
.. [5] C. Taal et al., IEEE TASLP 2011: STOI; J. Jensen and C. Taal, 2016: ESTOI; ``pystoi``.
.. [6] M. Chinen et al., "ViSQOL v3", QoMEX 2020; package ``visqol-python``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from vaerecon.mel import AUDIOLDM_MEL, PEAK, SILENCE, ArrayLike, as_samples, log_mel, stft_frames

SAMPLE_RATE = AUDIOLDM_MEL.sample_rate  # Hz; of everything here
LSD_FLOOR = 1e-4  # STFT magnitude at peak 0.5; about the mel's own floor (1e-5 / filter sum 0.064)
MRSTFT = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))  # n_fft, hop, window, samples; [3]_
MRSTFT_FLOOR = 1e-7  # power; the clamp of the published implementation of [3]_
PESQ_LONGEST = 15 * SAMPLE_RATE  # samples; the C code has room for 50 utterances of >= 0.38 s
STOI_SHORTEST = 6144  # samples; 30 frames with a hop of 128 at pystoi's 10 kHz, in 16 kHz


class UndefinedScore(ValueError):
    """The metric has no value for this pair of signals; the message says why."""


def validate(reference: ArrayLike, estimate: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    """Check a pair of signals and return both as float64 tensors ``[N]`` on the CPU.

    Raises
    ------
    ValueError
        If one is not ``[N]``, empty or not finite, or if the lengths differ.
    """
    pair = []
    for name, samples in (("reference", reference), ("estimate", estimate)):
        try:
            x = as_samples(samples)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if x.ndim != 1:
            raise ValueError(
                f"{name}: got shape {list(x.shape)}, expected [N]: metrics score one clip; "
                "call evaluate once for each and summarise with mean_scores"
            )
        pair.append(x.detach().cpu().double())
    if len(pair[0]) != len(pair[1]):
        raise ValueError(
            f"lengths differ: got reference [{len(pair[0])}] and estimate [{len(pair[1])}], "
            "expected the same number of samples; cut or pad both to one length after aligning them"
        )
    return pair[0], pair[1]


def _is_silent(x: torch.Tensor, centred: bool = True) -> bool:
    return bool((x - x.mean() if centred else x).abs().max() <= SILENCE)


def _require_sound(x: torch.Tensor, name: str, centred: bool = True) -> None:
    if _is_silent(x, centred):
        raise UndefinedScore(f"the {name} is silent" + (" (or constant)" if centred else ""))


def _power_ratio_db(signal: torch.Tensor, error: torch.Tensor) -> float:
    """Energy of ``signal`` over that of ``error`` in dB; infinite where one of them is nothing."""
    above, below = float(signal.square().sum()), float(error.square().sum())
    if below == 0:
        return math.inf
    return 10 * math.log10(above / below) if above > 0 else -math.inf


def _one_gain(reference: ArrayLike, estimate: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    """Remove each mean; scale both by the gain that brings the reference's peak to 0.5."""
    ref, est = validate(reference, estimate)
    _require_sound(ref, "reference")
    ref, est = ref - ref.mean(), est - est.mean()
    gain = PEAK / ref.abs().max()
    return ref * gain, est * gain


def _magnitudes(reference: ArrayLike, estimate: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    """STFT magnitudes ``[T, 513]`` of both on the mel's frame grid (1024 samples every 160)."""
    ref, est = _one_gain(reference, estimate)
    return stft_frames(ref).abs(), stft_frames(est).abs()


def snr_db(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Signal-to-noise ratio, ``10 log10(sum ref^2 / sum (ref - est)^2)``, in dB; no scaling."""
    ref, est = validate(reference, estimate)
    _require_sound(ref, "reference", centred=False)
    return _power_ratio_db(ref, ref - est)


def si_sdr_db(reference: ArrayLike, estimate: ArrayLike, zero_mean: bool = False) -> float:
    """Scale-invariant signal-to-distortion ratio [1]_, in dB.

    The SNR after the reference has been scaled to fit the estimate best. ``zero_mean`` removes
    both means first (the default, as in most published code, does not).
    """
    ref, est = validate(reference, estimate)
    if zero_mean:
        ref, est = ref - ref.mean(), est - est.mean()
    _require_sound(ref, "reference", centred=False)
    _require_sound(est, "estimate", centred=False)
    target = ref * (ref.dot(est) / ref.dot(ref))
    return _power_ratio_db(target, est - target)


def correlation(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Pearson's correlation of the samples, -1..1."""
    ref, est = validate(reference, estimate)
    _require_sound(ref, "reference")
    _require_sound(est, "estimate")
    ref, est = ref - ref.mean(), est - est.mean()
    return float((ref.dot(est) / (ref.norm() * est.norm())).clamp(-1, 1))  # clamp: rounding


def rmse(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Root mean square error of the samples, in their own unit."""
    ref, est = validate(reference, estimate)
    return float((ref - est).square().mean().sqrt())


def log_mel_mae(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Mean absolute difference of :func:`vaerecon.mel.log_mel`, in nepers, with one gain."""
    ref, est = _one_gain(reference, estimate)
    difference = log_mel(ref, normalize=False) - log_mel(est, normalize=False)
    return float(difference.double().abs().mean())


def lsd_db(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Log-spectral distance [2]_, in dB: the RMS over bins of the difference of the levels
    (``20 log10`` of the magnitude), averaged over frames.

    Magnitudes below ``LSD_FLOOR`` are raised to it, so that digital silence, which has no level,
    does not rule the mean: what the mel cannot hold is not compared either.
    """
    ref, est = (20 * x.clamp_min(LSD_FLOOR).log10() for x in _magnitudes(reference, estimate))
    return float((ref - est).square().mean(dim=-1).sqrt().mean())


def spectral_convergence_db(reference: ArrayLike, estimate: ArrayLike) -> float:
    """``20 log10(|| |S| - |S^| || / || |S| ||)``, Frobenius norms of STFT magnitudes, in dB."""
    ref, est = _magnitudes(reference, estimate)
    return _power_ratio_db(ref - est, ref)


def mrstft(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Multi-resolution STFT distance [3]_: the mean over three resolutions of spectral
    convergence (a ratio, not in dB) plus the mean absolute difference of log magnitudes (nepers).

    Frames at the ends are padded with zeros, so that clips of any length have a value.
    """
    pair = _one_gain(reference, estimate)
    total = 0.0
    for n_fft, hop, win in MRSTFT:
        window = torch.hann_window(win, dtype=torch.float64)
        ref, est = (
            torch.stft(x, n_fft, hop, win, window, pad_mode="constant", return_complex=True)
            .abs()
            .clamp_min(math.sqrt(MRSTFT_FLOOR))
            for x in pair
        )
        total += float((ref - est).norm() / ref.norm() + (ref.log() - est.log()).abs().mean())
    return total / len(MRSTFT)


def pesq_wb(reference: ArrayLike, estimate: ArrayLike) -> float:
    """PESQ, wide band [4]_, as MOS-LQO.

    A clip over 15 s gets the mean over its equal pieces of at most that, those without an
    utterance left out: PESQ is made for single utterances, and with more than 50 of them (25 s of
    syllables suffice) the C code writes past its arrays and ends the process.
    """
    ref, est = validate(reference, estimate)
    package = _installed("pesq")
    pesq, PesqError = package.pesq, package.PesqError
    _require_sound(ref, "reference")
    _require_sound(est, "estimate")
    values, pieces = [], math.ceil(len(ref) / PESQ_LONGEST)
    for one, other in zip(ref.tensor_split(pieces), est.tensor_split(pieces), strict=True):
        if _is_silent(one):
            continue
        value = pesq(
            SAMPLE_RATE, one.numpy(), other.numpy(), "wb", on_error=PesqError.RETURN_VALUES
        )
        if value == PesqError.BUFFER_TOO_SHORT:
            raise UndefinedScore("PESQ needs a quarter of a second at least")
        if math.isnan(value):
            raise UndefinedScore("PESQ gave no number: the estimate is silent there")
        if value != PesqError.NO_UTTERANCES_DETECTED:
            values.append(float(value))
    if not values:
        raise UndefinedScore("PESQ found no utterance (0.2 s of steady activity) in the reference")
    return sum(values) / len(values)


def _stoi(reference: ArrayLike, estimate: ArrayLike, extended: bool) -> float:
    from pystoi import stoi

    ref, est = validate(reference, estimate)
    _require_sound(ref, "reference")
    too_short = "less than 0.41 s of the reference is within 40 dB of its loudest frame"
    if len(ref) < STOI_SHORTEST:
        raise UndefinedScore(too_short)
    # pystoi adds a trace of noise from numpy's global generator: fixed, so that the same signals
    # give the same number, and put back, so that the caller's random numbers stay as they were
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # pystoi warns and returns 1e-5
            value = float(stoi(ref.numpy(), est.numpy(), SAMPLE_RATE, extended=extended))
    except RuntimeWarning as warning:
        reason = too_short if "Not enough" in str(warning) else f"pystoi: {warning}"
        raise UndefinedScore(reason) from warning
    finally:
        np.random.set_state(state)  # noqa: NPY002
    # ESTOI of silence would be the score of that trace of noise
    return 0.0 if _is_silent(est) else value


def stoi(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Short-time objective intelligibility [5]_, about 0..1."""
    return _stoi(reference, estimate, extended=False)


def estoi(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Extended short-time objective intelligibility [5]_, about 0..1."""
    return _stoi(reference, estimate, extended=True)


def _installed(package: str) -> Any:
    """Import a package that is not there on every machine: its wheels need a C compiler."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UndefinedScore(f"the package {package!r} is not installed here") from error


@lru_cache(maxsize=1)
def _visqol_api() -> Any:
    api = _installed("visqol").VisqolApi()
    api.create(mode="audio")
    return api


def visqol(reference: ArrayLike, estimate: ArrayLike) -> float:
    """ViSQOL in audio mode [6]_, as MOS-LQO, at one gain and resampled to the 48 kHz it needs.

    Slow: a fifth of a second for each second of a short clip, more than that for long ones (a
    minute takes half of one); the very first call compiles for about 10 s.
    """
    # ViSQOL gives full marks for a silent reference, and near-full ones for a faint recording
    # (its noise floor is absolute), so the reference is brought to the level of all clips first
    ref, est = _one_gain(reference, estimate)
    _require_sound(est, "estimate")
    pair = (_resample(x, SAMPLE_RATE, 48000) for x in (ref, est))
    try:
        value = float(_visqol_api().measure_from_arrays(*pair, 48000).moslqo)
    except ValueError as error:  # shorter than a patch: about a second
        raise UndefinedScore(f"the clip is too short for ViSQOL: {error}") from error
    if math.isnan(value):
        raise UndefinedScore("ViSQOL gave no number: a band of a signal is empty")
    return value


def _resample(x: torch.Tensor, source: int, target: int) -> np.ndarray:
    import soxr

    return soxr.resample(x.numpy(), source, target)


@dataclass(frozen=True)
class Metric:
    """One metric, and what a table or a plot needs to say about it."""

    function: Callable[[ArrayLike, ArrayLike], float]
    label: str  # for axes and column heads
    unit: str  # "" where there is none
    best: Literal["higher", "lower"]
    range: str
    caveat: str  # one line


_PHASE = "sees phase: for incoherent sound it measures loudness, and silence beats it"
_SPEECH = "made for speech: intelligibility, not quality"
# fmt: off
METRICS: dict[str, Metric] = {
    "snr_db": Metric(snr_db, "SNR", "dB", "higher", "-inf..inf", _PHASE),
    "si_sdr_db": Metric(si_sdr_db, "SI-SDR", "dB", "higher", "-inf..inf",
        "sees phase, not gain: about -35 dB is normal for a vocoder"),
    "correlation": Metric(correlation, "Correlation", "", "higher", "-1..1",
        "sees phase: near 0 for every method that invents one, however good it sounds"),
    "rmse": Metric(rmse, "RMSE", "", "lower", "0..inf", _PHASE),
    "log_mel_mae": Metric(log_mel_mae, "Log-mel MAE", "nepers", "lower", "0..inf",
        "sees level, not phase: what the VAE works on, not what one hears"),
    "lsd_db": Metric(lsd_db, "LSD", "dB", "lower", "0..inf",
        "counts inaudible bins as much as loud ones"),
    "spectral_convergence_db": Metric(spectral_convergence_db, "Spectral convergence", "dB",
        "lower", "-inf..inf", "only the loudest bins count; silence scores 0 dB"),
    "mrstft": Metric(mrstft, "MR-STFT", "", "lower", "0..inf",
        "a training loss: favours what was trained on it"),
    "pesq_wb": Metric(pesq_wb, "PESQ-WB", "MOS-LQO", "higher", "1..4.64",
        "made for speech: on music and noise it only ranks, roughly"),
    "stoi": Metric(stoi, "STOI", "", "higher", "0..1", _SPEECH),
    "estoi": Metric(estoi, "ESTOI", "", "higher", "0..1", _SPEECH + "; stricter than STOI"),
    "visqol": Metric(visqol, "ViSQOL", "MOS-LQO", "higher", "1..4.73",
        "audio mode saturates near its top: never the only judge"),
}
# fmt: on


class Scores(dict[str, "float | None"]):
    """Metric name -> value, or None with its reason in ``notes`` (name -> reason)."""

    def __init__(self, values: dict[str, float | None], notes: dict[str, str] | None = None):
        super().__init__(values)
        self.notes: dict[str, str] = dict(notes or {})


def evaluate(
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    *,
    metrics: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
) -> Scores:
    """Compute the metrics of one estimate.

    Parameters
    ----------
    reference, estimate
        ``[N]``, aligned, at ``sample_rate``.
    sample_rate
        Hz. Every metric works at 16 kHz: at another rate both are resampled to that first, and
        what lies above 8 kHz is not judged.
    metrics
        Names of those wanted; all of ``METRICS`` by default. The result has these keys.
    exclude
        Names of those to skip, for example ``("visqol",)``: None in the result, and noted.

    Returns
    -------
    Scores
        In the order of ``METRICS``; finite numbers or None, never NaN.

    Raises
    ------
    ValueError
        For signals that :func:`validate` refuses, an unknown name or an impossible rate.
    """
    wanted = list(METRICS) if metrics is None else _names("metrics", metrics)
    skipped = _names("exclude", exclude)
    if sample_rate <= 0:
        raise ValueError(f"sample_rate: got {sample_rate}, expected Hz above 0, such as 16000")
    pair = validate(reference, estimate)
    if sample_rate != SAMPLE_RATE:
        pair = validate(*(_resample(x, sample_rate, SAMPLE_RATE) for x in pair))
    scores = Scores({})
    for name in [name for name in METRICS if name in wanted]:
        scores[name] = None
        if name in skipped:
            scores.notes[name] = "left out, as asked"
            continue
        try:
            value = METRICS[name].function(*pair)
        except UndefinedScore as reason:
            scores.notes[name] = str(reason)
            continue
        if math.isfinite(value):
            scores[name] = value
        elif value == (math.inf if METRICS[name].best == "higher" else -math.inf):
            scores.notes[name] = "infinite: the estimate has no error that this metric sees"
        else:
            scores.notes[name] = "infinite: the estimate has nothing of the reference"
    return scores


def _names(argument: str, names: Iterable[str]) -> list[str]:
    chosen = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in chosen if name not in METRICS]
    if unknown:
        raise ValueError(f"{argument}: got {unknown}, expected names from {list(METRICS)}")
    return chosen


class Mean(NamedTuple):
    """A mean, and over how many clips: two means of different clips cannot be compared."""

    value: float | None  # None if no clip was scored
    scored: int


def mean_scores(scores: Sequence[Scores]) -> dict[str, Mean]:
    """Mean of every metric over clips, with the number of clips that had a value."""
    if not scores:
        raise ValueError("scores: got none, expected those of at least one clip")
    means = {}
    for name in [name for name in METRICS if any(name in one for one in scores)]:
        values = [one[name] for one in scores if one.get(name) is not None]
        means[name] = Mean(sum(values) / len(values) if values else None, len(values))
    return means


def estimate_lag(reference: ArrayLike, estimate: ArrayLike, max_lag: int = 400) -> int:
    """Samples by which ``estimate`` is late (early if negative), by cross-correlation.

    A diagnostic: shift by a lag that is known of the method, never by the one found for a clip,
    which flatters. For incoherent sound the peak means little.
    """
    ref, est = validate(reference, estimate)
    max_lag = min(max_lag, len(ref) - 1)
    size = 2 * len(ref)  # room for every lag without wrapping round
    spectrum = torch.fft.rfft(est, size) * torch.fft.rfft(ref, size).conj()
    around_zero = torch.fft.irfft(spectrum, size).roll(max_lag)[: 2 * max_lag + 1]
    return int(around_zero.abs().argmax()) - max_lag
