"""Registry of metrics, one record each, and :func:`evaluate`, which computes them.

torch is imported only when a metric is computed, so that the command line can list names quickly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from vaerecon.utils.numbers import is_number
from vaerecon.utils.plugins import Registry

if TYPE_CHECKING:
    from vaerecon.metrics.signals import Side, Signal

    MetricFunction = Callable[[Side, Side], float]

SPEECH, OTHER = PANELS = ("speech", "music and other sound")  # kinds of sound, for recommendations


@dataclass(frozen=True)
class Metric:
    """One metric, with its properties for tables, plots, pages and recommendations."""

    name: str  # in METRICS, tables and analysis.json
    label: str  # for axes and column heads
    function: MetricFunction  # (reference, estimate) -> float, of one clip
    _: KW_ONLY
    unit: str = ""  # "" if it has none
    best: Literal["higher", "lower"]
    range: str  # lowest..highest
    perfect: float  # value of identical signals
    caveat: str  # its limits; one line
    decimals: int = 2  # in tables
    span: float = 0.0  # smallest range of an axis, so that inaudible differences look small
    tie: float = 0.0  # differences up to this are ties: about twice the effect of another seed
    panels: tuple[str, ...] = ()  # panels, of PANELS, in which it counts for a recommendation
    bold: bool = True  # whether a table may mark its best value
    bounded: bool = False  # whether the oracle phase is an upper bound for all methods
    terminal: bool = True  # whether the command line shows it; analysis.json has all metrics
    overview: bool = True  # whether a plot of many metrics shows it
    slow: bool = False  # whether notebooks compute it only when asked to

    def __post_init__(self) -> None:
        if self.best not in ("higher", "lower"):
            raise ValueError(f"best: got {self.best!r}, expected 'higher' or 'lower'")
        if unknown := sorted(set(self.panels) - set(PANELS)):
            raise ValueError(f"panels: got {unknown}, expected names from {list(PANELS)}")

    @property
    def sign(self) -> int:
        """1 if higher values are better, -1 if lower ones are."""
        return 1 if self.best == "higher" else -1

    @property
    def arrow(self) -> str:
        """Arrow in the direction of better values."""
        return "↑" if self.best == "higher" else "↓"

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def heading(self) -> str:
        """Label, unit and direction, for axes and column heads."""
        return f"{self.title} {self.arrow}"

    def text(self, value: float) -> str:
        """Format a value for tables."""
        return f"{value + 0.0:.{self.decimals}f}"  # + 0.0: no minus before zero


COLUMNS = (  # other columns of a table, whose names no metric may have
    "file", "clip", "domain", "model", "method", "through_vae", "sound", "seconds",
    "real_time_factor", "lag_samples", "gain", "kbps", "vae_mae_nepers", "duration_s", "sha256",
    "notes", "error", "seed", "dnsmos",
)  # fmt: skip
METRICS: Registry[Metric] = Registry("metric", COLUMNS)
ON_REQUEST: dict[str, Metric] = {}  # computed only if named; they need an extra to be installed


def register(metric: Metric) -> Metric:
    """Add a metric to ``METRICS``; ValueError if its name is taken."""
    METRICS.add(metric.name, metric)
    return metric


def metric(name: str, label: str, **facts: Any) -> Callable[[MetricFunction], MetricFunction]:
    """Register the decorated function; ``facts`` are the other fields of :class:`Metric`.

    It is called as ``function(reference, estimate)``, with whole, aligned clips at 16 kHz;
    ``reference.read(0, len(reference))`` returns the samples, ``[N]`` float64.
    """

    def add(function: MetricFunction) -> MetricFunction:
        register(Metric(name, label, function, **facts))
        return function

    return add


def _bundled(name: str, label: str, **facts: Any) -> Metric:
    """Return a metric of this package, whose function is imported when it is called."""

    def function(reference: Side, estimate: Side) -> float:
        value: float = getattr(import_module(__package__), name)(reference, estimate)
        return value

    return Metric(name, label, function, **facts)


_PHASE = "sees phase: for incoherent sound it measures loudness, and silence beats it"
_SPEECH = "made for speech: intelligibility, not quality; over 30 s a mean of pieces"
# Ties: standard deviations over seeds are at most 0.16 (PESQ), 0.006 (ESTOI), 0.001 (log-mel MAE),
# 0.02 (LSD), 0.007 (MR-STFT) and 0.07 (ViSQOL); bundled clips, five seeds, 4 s.
# fmt: off
for _metric in (
    _bundled("snr_db", "SNR", unit="dB", best="higher", range="-inf..inf", perfect=math.inf,
             span=1.0, bold=False, caveat=_PHASE),
    _bundled("si_sdr_db", "SI-SDR", unit="dB", best="higher", range="-inf..inf", perfect=math.inf,
             decimals=1, span=10.0, bold=False, bounded=True, overview=False,
             caveat="sees phase, not gain: about -35 dB is normal for a vocoder"),
    _bundled("correlation", "Correlation", best="higher", range="-1..1", perfect=1.0, decimals=3,
             span=0.1, bold=False, terminal=False, overview=False,
             caveat="sees phase: near 0 for every method that invents one, however good it sounds"),
    _bundled("rmse", "RMSE", best="lower", range="0..inf", perfect=0.0, decimals=3, span=0.01,
             bold=False, terminal=False, overview=False, caveat=_PHASE),
    _bundled("log_mel_mae", "Log-mel MAE", unit="nepers", best="lower", range="0..inf", perfect=0.0,
             decimals=3, span=0.1, tie=0.002, panels=PANELS,
             caveat="sees level, not phase: what the VAE works on, not what one hears"),
    _bundled("lsd_db", "LSD", unit="dB", best="lower", range="0..inf", perfect=0.0, decimals=1,
             span=2.0, tie=0.05, panels=(OTHER,), bounded=True,
             caveat="counts inaudible bins as much as loud ones"),
    _bundled("spectral_convergence_db", "Spectral convergence", unit="dB", best="lower",
             range="-inf..inf", perfect=-math.inf, decimals=1, span=1.0, bounded=True,
             terminal=False, overview=False,
             caveat="only the loudest bins count; silence scores 0 dB"),
    _bundled("mrstft", "MR-STFT", best="lower", range="0..inf", perfect=0.0, span=0.2, tie=0.015,
             panels=(OTHER,), bounded=True, terminal=False,
             caveat="a training loss: favours what was trained on it"),
    _bundled("pesq_wb", "PESQ-WB", unit="MOS-LQO", best="higher", range="1..4.64", perfect=4.644,
             span=0.5, tie=0.3, panels=(SPEECH,), bounded=True, caveat="made for speech: on music "
             "and noise it only ranks, roughly; over 15 s a mean of pieces"),
    _bundled("stoi", "STOI", best="higher", range="0..1", perfect=1.0, decimals=3, span=0.1,
             bounded=True, overview=False, caveat=_SPEECH),
    _bundled("estoi", "ESTOI", best="higher", range="0..1", perfect=1.0, decimals=3, span=0.1,
             tie=0.01, panels=(SPEECH,), bounded=True, terminal=False,
             caveat=f"{_SPEECH}; stricter than STOI"),
    _bundled("visqol", "ViSQOL", unit="MOS-LQO", best="higher", range="1..4.73", perfect=4.732,
             span=0.5, tie=0.15, panels=(OTHER,), slow=True, caveat="audio mode saturates near its "
             "top: never the only judge; over 30 s a mean of pieces"),
):
    register(_metric)

ON_REQUEST["dnsmos"] = _bundled(
    "dnsmos", "DNSMOS", unit="MOS", best="higher", range="1..5", perfect=5.0, caveat="made for "
    "noisy speech; does not look at the reference: compare with the reference's own",
)
# fmt: on


class Scores(dict[str, "float | None"]):
    """Metric name -> value, or None with the reason in ``notes`` (name -> reason)."""

    def __init__(self, values: dict[str, float | None], notes: dict[str, str] | None = None):
        super().__init__(values)
        self.notes = dict(notes or {})


def evaluate(
    reference: Side,
    estimate: Side,
    sample_rate: int = 16000,
    *,
    metrics: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    on_metric: Callable[[str], object] = lambda name: None,
) -> Scores:
    """Compute the metrics of one estimate, in the order of ``METRICS``; finite or None, never NaN.

    Parameters
    ----------
    reference, estimate
        ``[N]``, aligned, at ``sample_rate``.
    sample_rate
        Hz. Every metric works at 16 kHz: signals of another rate are resampled first, and
        frequencies above 8 kHz are not measured.
    metrics
        Names of metrics; by default all of ``METRICS``. Those of ``ON_REQUEST`` must be named.
    exclude
        Names of metrics to skip, for example ``("visqol",)``: their result is None, with a note.
    on_metric
        Called with the name of each metric before it is computed.

    Raises
    ------
    ValueError
        For signals that :class:`vaerecon.metrics.signals.Signal` refuses, an unknown name or an
        impossible rate.
    """
    from vaerecon.metrics.signals import SAMPLE_RATE, as_pair, resample

    wanted = metric_names("metrics", METRICS if metrics is None else metrics)
    skipped = metric_names("exclude", exclude)
    if not (is_number(sample_rate) and sample_rate > 0):
        raise ValueError(f"sample_rate: got {sample_rate!r}, expected Hz above 0, such as 16000")
    pair = as_pair(reference, estimate)
    if sample_rate != SAMPLE_RATE:
        whole = (side.read(0, len(side)) for side in pair)
        pair = as_pair(*(resample(x, sample_rate, SAMPLE_RATE) for x in whole))
    scores = Scores({})
    for name in wanted:
        on_metric(name)
        if name in skipped:
            scores[name], note = None, "left out, as asked"
        else:
            scores[name], note = _computed(ON_REQUEST.get(name) or METRICS[name], pair)
        if note:
            scores.notes[name] = note
    return scores


def _computed(metric: Metric, pair: tuple[Signal, Signal]) -> tuple[float | None, str]:
    """Return a finite value and an empty note, or None and the reason."""
    from vaerecon.audio.conversion import numpy_defaults
    from vaerecon.metrics.signals import UndefinedScore

    try:
        with numpy_defaults():
            found = metric.function(*pair)
    except UndefinedScore as reason:
        return None, str(reason)
    try:
        value = float(found)
    except (TypeError, ValueError):
        raise ValueError(f"metric {metric.name}: got {found!r}, expected a number") from None
    if math.isfinite(value):
        return value, ""
    if math.isnan(value):
        return None, "not a number: the metric has no value for these signals"
    if value == metric.sign * math.inf:
        return None, "infinite: the estimate has no error that this metric sees"
    return None, "infinite: the estimate has nothing of the reference"


def metric_names(argument: str, names: Iterable[str]) -> list[str]:
    """Return ``names`` (or one name) in the order of the registries; ValueError if unknown."""
    chosen, known = [names] if isinstance(names, str) else list(names), [*METRICS, *ON_REQUEST]
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"{argument}: got {unknown}, expected names from {known}")
    return [name for name in known if name in chosen]


class Mean(NamedTuple):
    """A mean and its number of clips: means over different clips cannot be compared."""

    value: float | None  # None if no clip was scored
    scored: int


def mean_scores(scores: Sequence[Scores]) -> dict[str, Mean]:
    """Return the mean of every metric over clips, with the number of clips that have a value."""
    if not scores:
        raise ValueError("scores: got none, expected those of at least one clip")
    means = {}
    for name in [name for name in METRICS if any(name in one for one in scores)]:
        values = [value for one in scores if (value := one.get(name)) is not None]
        means[name] = Mean(sum(values) / len(values) if values else None, len(values))
    return means
