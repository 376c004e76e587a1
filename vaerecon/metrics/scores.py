"""The metrics of samples and spectra, and :func:`evaluate`, which computes all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from vaerecon.audio.conversion import numpy_defaults
from vaerecon.audio.samples import Reader
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel_section, magnitudes
from vaerecon.metrics.perceptual import estoi, pesq_wb, resample, stoi, visqol
from vaerecon.metrics.signals import (
    BLOCK,
    Side,
    UndefinedScore,
    as_pair,
    one_gain,
    paired_blocks,
    paired_magnitudes,
)
from vaerecon.utils.numbers import is_number
from vaerecon.utils.windows import split

SAMPLE_RATE = AUDIOLDM_MEL.sample_rate  # Hz; of everything here
LSD_FLOOR = 1e-4  # STFT magnitude at peak 0.5; about the mel's own floor (1e-5 / filter sum 0.064)
MRSTFT = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))  # n_fft, hop, window, samples; [3]_
MRSTFT_FLOOR = 1e-7  # power; the clamp of the published implementation of [3]_


def _ratio_db(above: float, below: float) -> float:
    """One energy over another in dB; infinite where one of them is nothing."""
    if below == 0:
        return math.inf
    return 10 * math.log10(above / below) if above > 0 else -math.inf


def _sum(values: Iterable[torch.Tensor]) -> float:
    """The sum of everything in all blocks."""
    return sum(float(x.sum()) for x in values)


def snr_db(reference: Side, estimate: Side) -> float:
    """Signal-to-noise ratio, ``10 log10(sum ref^2 / sum (ref - est)^2)``, in dB; no scaling."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound(centred=False)
    return _ratio_db(ref.energy, _sum((r - e).square() for r, e in paired_blocks(ref, est)))


def si_sdr_db(reference: Side, estimate: Side, zero_mean: bool = False) -> float:
    """Scale-invariant signal-to-distortion ratio [1]_, in dB.

    The SNR after the reference has been scaled to fit the estimate best. ``zero_mean`` removes
    both means first (the default, as in most published code, does not).
    """
    ref, est = as_pair(reference, estimate)
    ref.require_sound(centred=zero_mean)
    est.require_sound(centred=zero_mean)
    shift = (ref.mean, est.mean) if zero_mean else (0.0, 0.0)

    def blocks() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ((r - shift[0], e - shift[1]) for r, e in paired_blocks(ref, est))

    energy = _sum(r.square() for r, _ in blocks())
    scale = _sum(r * e for r, e in blocks()) / energy
    # the error itself, not a difference of energies: near a perfect estimate that is only rounding
    return _ratio_db(scale**2 * energy, _sum((e - scale * r).square() for r, e in blocks()))


def correlation(reference: Side, estimate: Side) -> float:
    """Pearson's correlation of the samples, -1..1."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    est.require_sound()
    product = above = below = 0.0
    for r, e in paired_blocks(ref, est):
        r, e = r - ref.mean, e - est.mean
        product += float(r.dot(e))
        above, below = above + float(r.dot(r)), below + float(e.dot(e))
    return min(1.0, max(-1.0, product / math.sqrt(above * below)))  # beyond only by rounding


def rmse(reference: Side, estimate: Side) -> float:
    """Root mean square error of the samples, in their own unit."""
    ref, est = as_pair(reference, estimate)
    return math.sqrt(_sum((r - e).square() for r, e in paired_blocks(ref, est)) / len(ref))


def log_mel_mae(reference: Side, estimate: Side) -> float:
    """Mean absolute difference of the log-mels, in nepers, with one gain."""
    ref, est = as_pair(reference, estimate)
    # in float32, as the front-end computes
    readers = [lambda a, b, r=r: r(a, b).float() for r in one_gain(ref, est)]
    n_samples, total = len(ref), 0.0
    n_frames = AUDIOLDM_MEL.n_frames(n_samples)
    for first, last in split(n_frames, BLOCK // AUDIOLDM_MEL.hop_length):
        one, other = (log_mel_section(read, n_samples, first, last) for read in readers)
        total += float((one - other).double().abs().sum())
    return total / (n_frames * AUDIOLDM_MEL.n_mels)


def lsd_db(reference: Side, estimate: Side) -> float:
    """Log-spectral distance [2]_, in dB: the RMS over bins of the difference of the levels
    (``20 log10`` of the magnitude), averaged over frames.

    Magnitudes below ``LSD_FLOOR`` are raised to it, so that digital silence, which has no level,
    does not rule the mean: what the mel cannot hold is not compared either.
    """
    pair = as_pair(reference, estimate)
    total, frames = 0.0, 0
    for levels in paired_magnitudes(*pair):
        one, other = (20 * x.clamp_min(LSD_FLOOR).log10() for x in levels)
        total += float((one - other).square().mean(dim=-1).sqrt().sum())
        frames += len(one)
    return total / frames


def spectral_convergence_db(reference: Side, estimate: Side) -> float:
    """``20 log10(|| |S| - |S^| || / || |S| ||)``, Frobenius norms of STFT magnitudes, in dB."""
    above = below = 0.0
    for one, other in paired_magnitudes(*as_pair(reference, estimate)):
        above += float((one - other).square().sum())
        below += float(one.square().sum())
    return _ratio_db(above, below)


def mrstft(reference: Side, estimate: Side) -> float:
    """Multi-resolution STFT distance [3]_: the mean over three resolutions of spectral
    convergence (a ratio, not in dB) plus the mean absolute difference of log magnitudes (nepers).

    Frames at the ends are padded with zeros, so that clips of any length have a value.
    """
    ref, est = as_pair(reference, estimate)
    readers = one_gain(ref, est)
    total = 0.0
    for n_fft, hop, win in MRSTFT:
        error = energy = difference = 0.0
        count = 0
        for first, last in split(len(ref) // hop + 1, BLOCK // hop):
            one, other = (
                _plain_magnitudes(read, len(ref), first, last, n_fft, hop, win) for read in readers
            )
            error += float((one - other).square().sum())
            energy += float(one.square().sum())
            difference += float((one.log() - other.log()).abs().sum())
            count += one.numel()
        total += math.sqrt(error / energy) + difference / count
    return total / len(MRSTFT)


def _plain_magnitudes(
    read: Reader, n_samples: int, first: int, last: int, n_fft: int, hop: int, win: int
) -> torch.Tensor:
    """Magnitudes of frames ``first`` to ``last`` of ``torch.stft``, centred, zeros at the ends."""
    start, stop = first * hop - n_fft // 2, (last - 1) * hop + n_fft // 2
    x = read(max(0, start), min(n_samples, stop))
    x = F.pad(x, (max(0, -start), max(0, stop - n_samples)))
    window = torch.hann_window(win, dtype=torch.float64)
    spectrum = torch.stft(x, n_fft, hop, win, window, center=False, return_complex=True)
    return magnitudes(spectrum).clamp_min(math.sqrt(MRSTFT_FLOOR))


@dataclass(frozen=True)
class Metric:
    """One metric, and what a table or a plot needs to say about it."""

    function: Callable[[Side, Side], float]
    label: str  # for axes and column heads
    unit: str  # "" where there is none
    best: Literal["higher", "lower"]
    range: str
    caveat: str  # one line


_PHASE = "sees phase: for incoherent sound it measures loudness, and silence beats it"
_SPEECH = "made for speech: intelligibility, not quality; over 30 s a mean of pieces"
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
        "made for speech: on music and noise it only ranks, roughly; over 15 s a mean of pieces"),
    "stoi": Metric(stoi, "STOI", "", "higher", "0..1", _SPEECH),
    "estoi": Metric(estoi, "ESTOI", "", "higher", "0..1", _SPEECH + "; stricter than STOI"),
    "visqol": Metric(visqol, "ViSQOL", "MOS-LQO", "higher", "1..4.73",
        "audio mode saturates near its top: never the only judge; over 30 s a mean of pieces"),
}
# fmt: on


class Scores(dict[str, "float | None"]):
    """Metric name -> value, or None with its reason in ``notes`` (name -> reason)."""

    def __init__(self, values: dict[str, float | None], notes: dict[str, str] | None = None):
        super().__init__(values)
        self.notes: dict[str, str] = dict(notes or {})


def evaluate(
    reference: Side,
    estimate: Side,
    sample_rate: int = SAMPLE_RATE,
    *,
    metrics: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    on_metric: Callable[[str], None] | None = None,
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
    on_metric
        Called with the name of each before it is computed, to show what takes the time.

    Returns
    -------
    Scores
        In the order of ``METRICS``; finite numbers or None, never NaN.

    Raises
    ------
    ValueError
        For signals that :class:`vaerecon.metrics.signals.Signal` refuses, an unknown name or an
        impossible rate.
    """
    wanted = list(METRICS) if metrics is None else metric_names("metrics", metrics)
    skipped = metric_names("exclude", exclude)
    if not (is_number(sample_rate) and sample_rate > 0):
        raise ValueError(f"sample_rate: got {sample_rate!r}, expected Hz above 0, such as 16000")
    pair = as_pair(reference, estimate)
    if sample_rate != SAMPLE_RATE:
        whole = (side.read(0, len(side)) for side in pair)
        pair = as_pair(*(resample(x, sample_rate, SAMPLE_RATE) for x in whole))
    scores = Scores({})
    for name in [name for name in METRICS if name in wanted]:
        scores[name] = None
        if on_metric is not None:
            on_metric(name)
        if name in skipped:
            scores.notes[name] = "left out, as asked"
            continue
        try:
            with numpy_defaults():
                value = METRICS[name].function(*pair)
        except UndefinedScore as reason:
            scores.notes[name] = str(reason)
            continue
        if math.isfinite(value):
            scores[name] = value
        elif value == (math.inf if METRICS[name].best == "higher" else -math.inf):
            scores.notes[name] = "infinite: the estimate has no error that this metric sees"
        elif math.isnan(value):
            scores.notes[name] = "not a number: the metric has no value for these signals"
        else:
            scores.notes[name] = "infinite: the estimate has nothing of the reference"
    return scores


def metric_names(argument: str, names: Iterable[str]) -> list[str]:
    """``names`` (or one name) as a list; a ValueError names what is unknown."""
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
