"""Metrics: published answers, the reference packages, independent formulas, and every direction."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import librosa
import numpy as np
import pytest
import scipy.signal
import soxr
import torch
from helpers.installed import is_installed

from vaerecon import metrics
from vaerecon.metrics.scores import METRICS, Scores, evaluate, mean_scores, register
from vaerecon.metrics.signals import UndefinedScore

RATE = 16000
SCHEMA = [  # analysis.json, schema 1
    "snr_db", "si_sdr_db", "correlation", "rmse", "log_mel_mae", "lsd_db",
    "spectral_convergence_db", "mrstft", "pesq_wb", "stoi", "estoi", "visqol",
]  # fmt: skip
PACKAGES = {"pesq_wb": "pesq", "visqol": "visqol"}  # not on every machine: they need a compiler
NAMES = [
    pytest.param(n, marks=pytest.mark.needs(PACKAGES[n])) if n in PACKAGES else n for n in SCHEMA
]
FAST = ("pesq_wb", "visqol")  # left out where a test is not about them
# a tenth, a third and once the speech's own level: SNR of about 20, 10 and 0 dB
NOISE = (0.1, 0.316, 1.0)


def make_speech(seconds: float = 2.4, seed: int = 0) -> np.ndarray:
    """Speech-like: a gliding buzz through three moving formants, in syllables with pauses."""
    rng = np.random.default_rng(seed)
    n, syllable = int(seconds * RATE), int(0.3 * RATE)
    pitch = 110 + 30 * np.sin(2 * np.pi * 0.7 * np.arange(n) / RATE)
    buzz = np.diff(np.floor(np.cumsum(pitch / RATE)), prepend=0) + 0.01 * rng.standard_normal(n)
    out = np.zeros(n)
    for start in range(0, n, syllable):
        part = buzz[start : start + syllable]
        formants = rng.uniform([300, 900, 2200], [800, 2000, 3200])
        voiced = sum(
            scipy.signal.lfilter(*scipy.signal.iirpeak(f, f / 100, fs=RATE), part) for f in formants
        )
        envelope = np.sin(np.pi * np.arange(len(part)) / syllable) ** 2
        out[start : start + syllable] = voiced * envelope
    out += 1e-4 * np.abs(out).max() * rng.standard_normal(n)
    return (0.5 * out / np.abs(out).max()).astype(np.float32)


SPEECH = make_speech()
HISS = np.random.default_rng(1).standard_normal(len(SPEECH)).astype(np.float32) * SPEECH.std()
NOISY = SPEECH + NOISE[0] * HISS
SILENCE = np.zeros_like(SPEECH)
STEADY = (0.1 * np.random.default_rng(2).standard_normal(8000)).astype(np.float32)


@pytest.fixture(scope="module")
def noisy_scores() -> list[Scores]:
    """All the metrics at the three noise levels, computed once (ViSQOL is slow)."""
    return [evaluate(SPEECH, SPEECH + level * HISS) for level in NOISE]


@pytest.fixture(scope="module")
def identity_scores() -> Scores:
    return evaluate(SPEECH, SPEECH)


@pytest.fixture(scope="module")
def hiss_scores() -> Scores:
    """An estimate that has nothing to do with the reference."""
    return evaluate(SPEECH, HISS)


@pytest.fixture(autouse=True)
def no_warnings():
    """Odd signals are answered with None and a note, never with somebody's RuntimeWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # numba's compiling of ViSQOL may warn about threads or caches; not ours
        warnings.filterwarnings("default", module="numba")
        yield


# ---- answers from elsewhere -------------------------------------------------------------------


def test_published_answers():
    """The worked example of the torchmetrics documentation (4 decimals given, so 5e-5)."""
    target, preds = [3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0]
    assert metrics.snr_db(target, preds) == pytest.approx(16.1805, abs=5e-5)
    assert metrics.si_sdr_db(target, preds) == pytest.approx(18.4030, abs=5e-5)


def test_sample_metrics_against_numpy():
    ref, est = SPEECH.astype(float), NOISY.astype(float)
    scale = (ref @ est) / (ref @ ref)
    # 1e-9: both sides are float64 sums of 38,400 terms
    for name, expected in {
        "snr_db": 10 * np.log10((ref**2).sum() / ((ref - est) ** 2).sum()),
        "si_sdr_db": 10 * np.log10(((scale * ref) ** 2).sum() / ((est - scale * ref) ** 2).sum()),
        "correlation": np.corrcoef(ref, est)[0, 1],
        "rmse": np.sqrt(np.mean((ref - est) ** 2)),
    }.items():
        assert METRICS[name].function(SPEECH, NOISY) == pytest.approx(expected, rel=1e-9), name


def levelled_pair() -> list[np.ndarray]:
    """Both signals as the spectral metrics see them: own mean off, the reference's gain on."""
    ref, est = SPEECH.astype(float), NOISY.astype(float)
    ref, est = ref - ref.mean(), est - est.mean()
    gain = 0.5 / np.abs(ref).max()
    return [ref * gain, est * gain]


def test_spectral_metrics_against_librosa():
    magnitudes = [
        np.abs(librosa.stft(np.pad(x, 432, "reflect"), n_fft=1024, hop_length=160, center=False))
        for x in levelled_pair()
    ]
    ref, est = (20 * np.log10(np.maximum(m, 1e-4)) for m in magnitudes)  # [513, T]
    lsd = np.sqrt(((ref - est) ** 2).mean(axis=0)).mean()
    convergence = np.linalg.norm(magnitudes[0] - magnitudes[1]) / np.linalg.norm(magnitudes[0])
    filters = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64)
    mels = [np.log(np.maximum(filters @ m, 1e-5)) for m in magnitudes]
    # 1e-5: the window and the mel filters are float32 in the package; the mel is float32 wholly
    assert metrics.lsd_db(SPEECH, NOISY) == pytest.approx(lsd, rel=1e-5)
    assert metrics.spectral_convergence_db(SPEECH, NOISY) == pytest.approx(
        20 * np.log10(convergence), rel=1e-5
    )
    mae = np.abs(mels[0] - mels[1]).mean()
    assert metrics.log_mel_mae(SPEECH, NOISY) == pytest.approx(mae, rel=1e-4)


def test_mrstft_against_librosa():
    parts = []
    for n_fft, hop, win in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        ref, est = (
            np.maximum(
                np.abs(librosa.stft(x, n_fft=n_fft, hop_length=hop, win_length=win)),
                (1e-3).__pow__(7 / 6),
            )
            for x in levelled_pair()
        )
        parts.append(np.linalg.norm(ref - est) / np.linalg.norm(ref))
        parts.append(np.abs(np.log(ref) - np.log(est)).mean())
    # 1e-6: float64 on both sides, librosa's window is computed apart
    assert metrics.mrstft(SPEECH, NOISY) == pytest.approx(sum(parts) / 3, rel=1e-6)


def test_stoi_and_estoi_are_the_package_s(noisy_scores):
    from pystoi import stoi

    scores, ref, est = noisy_scores[0], SPEECH.astype(float), NOISY.astype(float)
    assert scores["stoi"] == stoi(ref, est, RATE)
    # 1e-9: pystoi adds noise of 1e-16 from an unseeded generator
    assert scores["estoi"] == pytest.approx(stoi(ref, est, RATE, extended=True), abs=1e-9)


@pytest.mark.needs("pesq")
def test_pesq_is_the_package_s(noisy_scores):
    from pesq import pesq

    expected = pesq(RATE, SPEECH.astype(float), NOISY.astype(float), "wb")
    assert noisy_scores[0]["pesq_wb"] == expected


@pytest.mark.needs("visqol")
def test_visqol_is_the_package_s(noisy_scores):
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    up = [soxr.resample(x, RATE, 48000) for x in levelled_pair()]
    expected = api.measure_from_arrays(*up, 48000).moslqo
    # 1e-6: the same arrays; its loops run in parallel, sums may be taken in another order
    assert noisy_scores[0]["visqol"] == pytest.approx(expected, abs=1e-6)
    assert noisy_scores[0]["visqol"] == round(noisy_scores[0]["visqol"], 9)  # the rest changes


# ---- every metric: identity, direction, range, silence, refusals ------------------------------

IDENTITY = {
    "snr_db": math.inf,
    "si_sdr_db": math.inf,
    "correlation": 1.0,
    "rmse": 0.0,
    "log_mel_mae": 0.0,
    "lsd_db": 0.0,
    "spectral_convergence_db": -math.inf,
    "mrstft": 0.0,
    "pesq_wb": 4.6439,  # P.862.2's mapping of the raw score 4.5
    "stoi": 1.0,
    "estoi": 1.0,
    "visqol": 4.7321,  # the audio model's value of full similarity
}


def test_the_registry_is_the_schema(monkeypatch):
    assert list(METRICS) == SCHEMA
    assert set(IDENTITY) == set(SCHEMA)
    for name, metric in METRICS.items():
        assert metric.name == name
        # four decimals above, three in the record
        assert metric.perfect == pytest.approx(IDENTITY[name], abs=1e-3)
        assert metric.best in ("higher", "lower")
        assert metric.label
        assert metric.caveat
        assert "\n" not in metric.caveat
        assert f"\n{name} " in metrics.__doc__, "every metric is in the module's table"
        monkeypatch.setattr(metrics, name, lambda reference, estimate: 42)
        assert metric.function(SPEECH, SPEECH) == 42  # it is the package's function of that name


def test_a_metric_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"metric: got 'rmse', which is registered"):
        register(METRICS["rmse"])
    with pytest.raises(ValueError, match="best: got 'highest', expected 'higher' or 'lower'"):
        replace(METRICS["rmse"], best="highest")
    with pytest.raises(ValueError, match=r"panels: got \['songs'\], expected names from"):
        replace(METRICS["rmse"], panels=("songs",))


@pytest.mark.parametrize("name", NAMES)
def test_identity_is_the_best_value(name, identity_scores, noisy_scores):
    best = IDENTITY[name]
    if math.isinf(best):
        assert METRICS[name].function(SPEECH, SPEECH) == best
        assert identity_scores[name] is None
        assert identity_scores.notes[name].startswith("infinite: the estimate has no error")
        return
    # 1e-4: the constants above have four decimals
    assert identity_scores[name] == pytest.approx(best, abs=1e-4)
    assert name not in identity_scores.notes
    sign = 1 if METRICS[name].best == "higher" else -1
    assert all(sign * identity_scores[name] > sign * scores[name] for scores in noisy_scores)


@pytest.mark.parametrize("name", NAMES)
def test_more_noise_is_worse(name, noisy_scores):
    values = [scores[name] for scores in noisy_scores]
    assert values == sorted(values, reverse=METRICS[name].best == "higher")
    assert len(set(values)) == 3


@pytest.mark.parametrize("name", NAMES)
def test_range(name, identity_scores, noisy_scores, hiss_scores):
    low, high = (float(end) for end in METRICS[name].range.split(".."))
    for scores in [identity_scores, *noisy_scores, hiss_scores]:
        if scores[name] is not None:
            # 0.005: ends are given with two decimals; 0.1 below: STOI is a mean of correlations
            slack = 0.1 if "stoi" in name else 0.005
            assert low - slack <= scores[name] <= high + 0.005


def test_silence_as_estimate():
    scores = evaluate(SPEECH, SILENCE)
    assert scores["snr_db"] == 0.0
    assert scores["spectral_convergence_db"] == 0.0
    assert scores["stoi"] == 0.0
    assert scores["estoi"] == 0.0
    assert scores["rmse"] == pytest.approx(np.sqrt((SPEECH.astype(float) ** 2).mean()))
    assert scores["mrstft"] > 1  # a spectral convergence of 1, and the logarithms
    worse = {
        name: evaluate(SPEECH, NOISY, metrics=[name])[name] for name in ("lsd_db", "log_mel_mae")
    }
    assert all(scores[name] > value for name, value in worse.items())
    undefined = {"si_sdr_db", "correlation", "pesq_wb", "visqol"}
    assert {name for name, value in scores.items() if value is None} == undefined
    assert all("estimate is silent" in scores.notes[name] for name in undefined)


@pytest.mark.parametrize("name", SCHEMA)
@pytest.mark.parametrize("estimate", [SPEECH, SILENCE], ids=["sound", "silence"])
def test_silence_as_reference_leaves_only_rmse(name, estimate):
    if name == "rmse":
        value = metrics.rmse(SILENCE, estimate)
        assert value == pytest.approx(np.sqrt((estimate.astype(float) ** 2).mean()))
        return
    with pytest.raises(UndefinedScore, match="reference is silent"):
        METRICS[name].function(SILENCE, estimate)
    scores = evaluate(SILENCE, estimate, metrics=[name])
    assert scores == {name: None}
    assert "reference is silent" in scores.notes[name]


@pytest.mark.parametrize("name", SCHEMA)
def test_another_length_is_refused(name):
    with pytest.raises(ValueError, match=r"\[38400\].*\[38000\].*cut or pad") as caught:
        METRICS[name].function(SPEECH, SPEECH[:38000])
    assert not isinstance(caught.value, UndefinedScore)


@pytest.mark.parametrize("name", SCHEMA)
def test_a_batch_is_refused(name):
    batch = np.stack([SPEECH, SPEECH])
    with pytest.raises(ValueError, match=r"reference: got shape \[2, 38400\], expected \[N\]"):
        METRICS[name].function(batch, batch)
    with pytest.raises(ValueError, match=r"estimate: got shape \[2, 38400\], expected \[N\]"):
        METRICS[name].function(SPEECH, batch)


SEES_LEVEL = {
    "snr_db", "rmse", "log_mel_mae", "lsd_db", "spectral_convergence_db", "mrstft"
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_level_error_is_seen_or_not(name):
    value, best = METRICS[name].function(SPEECH, 0.5 * SPEECH), IDENTITY[name]
    if name in SEES_LEVEL:
        assert value < best if METRICS[name].best == "higher" else value > best
    else:
        # 1e-3: PESQ aligns levels in float32 (4.6436 for 4.6439); the others agree to 1e-4
        assert value == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_the_level_of_the_recording_does_not_matter(name, noisy_scores):
    """40 dB softer, both; ViSQOL on its own would go from 4.0 to 4.7."""
    quiet = METRICS[name].function(0.01 * SPEECH, 0.01 * NOISY)
    if name == "rmse":
        assert quiet == pytest.approx(0.01 * noisy_scores[0][name], rel=1e-5)  # float32 input
    else:
        # 1e-3: float32 rounding of the input, and of PESQ's inside
        assert quiet == pytest.approx(noisy_scores[0][name], abs=1e-3)


def test_a_wrong_gain_has_exact_answers():
    """Half the level of steady noise, every bin above every floor: ln 2, 6.02 dB, 0.5."""
    half = 0.5 * STEADY
    # 1e-4: float32 rounding of a logarithm (mel); others are exact up to float32 windows
    assert metrics.log_mel_mae(STEADY, half) == pytest.approx(math.log(2), abs=1e-4)
    assert metrics.lsd_db(STEADY, half) == pytest.approx(20 * math.log10(2), abs=1e-4)
    convergence = metrics.spectral_convergence_db(STEADY, half)
    assert convergence == pytest.approx(-20 * math.log10(2), abs=1e-4)
    # 2e-3: a few bins of the shortest window lie below its floor
    assert metrics.mrstft(STEADY, half) == pytest.approx(0.5 + math.log(2), abs=2e-3)


@pytest.mark.parametrize(
    "name", ["log_mel_mae", "lsd_db", "spectral_convergence_db", "mrstft", "correlation"]
)
def test_dc_is_not_an_error(name):
    """The pipeline removes it, as the front-end does; nobody hears it."""
    with_dc = METRICS[name].function(SPEECH + np.float32(0.2), NOISY)
    # 1e-3: float32 rounding of the shifted samples, seen by logarithms of quiet bins
    assert with_dc == pytest.approx(METRICS[name].function(SPEECH, NOISY), rel=1e-3)


# ---- the traps --------------------------------------------------------------------------------


def test_silence_beats_an_incoherent_estimate_on_snr():
    """The original guide's trap: the right magnitudes with a phase of one's own."""
    spectrum = scipy.signal.stft(SPEECH, nperseg=1024, noverlap=864)[2]
    random = np.exp(2j * np.pi * np.random.default_rng(3).random(spectrum.shape))
    estimate = scipy.signal.istft(spectrum * random, nperseg=1024, noverlap=864)[1]
    estimate = estimate[: len(SPEECH)]
    estimate *= SPEECH.std() / estimate.std()
    sound, silence = (evaluate(SPEECH, x, exclude=FAST) for x in (estimate, SILENCE))
    assert abs(sound["correlation"]) < 0.2
    assert sound["snr_db"] < silence["snr_db"] == 0.0
    assert sound["rmse"] > silence["rmse"]
    # the metrics that do not see phase know better
    assert sound["log_mel_mae"] < silence["log_mel_mae"] / 2
    assert sound["lsd_db"] < silence["lsd_db"] / 2
    assert sound["stoi"] > silence["stoi"] + 0.2


def test_lsd_is_not_ruled_by_digital_silence():
    """Inaudible noise (-114 dB of the peak) where the reference is digitally silent is no error."""
    reference = np.concatenate([SPEECH, SILENCE])
    estimate = reference.copy()
    estimate[len(SPEECH) + 1024 :] += 1e-6 * np.random.default_rng(4).standard_normal(
        len(SPEECH) - 1024
    ).astype(np.float32)
    assert metrics.lsd_db(reference, estimate) < 0.01  # with a floor of 1e-10: tens of dB


def test_polarity_is_heard_by_sample_metrics_only():
    scores = evaluate(SPEECH, -SPEECH, exclude=FAST)
    assert scores["correlation"] == pytest.approx(-1, abs=1e-12)  # float64 sums
    assert scores["snr_db"] == pytest.approx(-20 * math.log10(2))
    assert scores["lsd_db"] == 0.0


@pytest.mark.needs("pesq")
def test_polarity_is_not_heard_by_pesq():
    assert metrics.pesq_wb(SPEECH, -SPEECH) == pytest.approx(IDENTITY["pesq_wb"], abs=1e-4)


def test_orthogonal_estimate_has_nothing_of_the_reference():
    assert metrics.si_sdr_db([1.0, 0.0, 1.0], [0.0, 1.0, 0.0]) == -math.inf
    scores = evaluate([1.0, 0.0, 1.0], [0.0, 1.0, 0.0], metrics=["si_sdr_db"])
    assert scores["si_sdr_db"] is None
    assert "nothing of the reference" in scores.notes["si_sdr_db"]


# ---- where the perceptual packages fail -------------------------------------------------------


def test_too_short_for_the_perceptual_ones():
    here = [name for name in SCHEMA if is_installed(PACKAGES.get(name, "pystoi"))]
    for seconds, undefined in (
        (0.2, {"pesq_wb", "stoi", "estoi", "visqol"}),  # PESQ needs 0.25 s
        (0.38, {"stoi", "estoi", "visqol"}),  # STOI 0.41 s: shorter than its 30 frames
        (0.4, {"stoi", "estoi", "visqol"}),  # and where pystoi itself counts them
        (0.6, {"visqol"}),  # ViSQOL about 1 s
    ):
        n = int(seconds * RATE)
        scores = evaluate(
            STEADY[:n] if n <= len(STEADY) else np.tile(STEADY, 2)[:n],
            np.tile(STEADY, 2)[:n] + HISS[:n],
            metrics=here,
        )
        missing = {name for name, value in scores.items() if value is None}
        assert missing == undefined & set(here), seconds
        assert set(scores.notes) == missing


def test_stoi_of_a_clip_that_is_mostly_pause_is_undefined():
    """pystoi only warns and returns 1e-5, which a mean would take for a score."""
    reference = SILENCE.copy()
    reference[8000:12000] = STEADY[:4000]
    for name in ("stoi", "estoi"):
        with pytest.raises(UndefinedScore, match=r"less than 0.41 s"):
            METRICS[name].function(reference, reference)


@pytest.mark.needs("pesq")
def test_pesq_without_an_utterance_is_undefined():
    bursts = np.where(np.arange(len(HISS)) % 6400 < 1600, HISS, 0)  # 0.1 s long, 0.3 s apart
    scores = evaluate(bursts, NOISY, metrics=["pesq_wb"])
    assert scores["pesq_wb"] is None
    assert "no utterance" in scores.notes["pesq_wb"]


@pytest.mark.needs("pesq")
@pytest.mark.slow
def test_pesq_of_a_long_clip_is_the_mean_of_its_pieces():
    """26 s with 60 utterances: handed over whole, the C code of pesq ends the process."""
    from pesq import pesq

    t = np.arange(26 * RATE) / RATE
    rng = np.random.default_rng(5)
    bursts = (0.1 * rng.standard_normal(len(t)) * (t % 0.43 < 0.22)).astype(np.float32)
    estimate = (bursts + 0.01 * rng.standard_normal(len(t))).astype(np.float32)
    halves = [
        pesq(RATE, one.astype(float), other.astype(float), "wb")
        for one, other in zip(np.split(bursts, 2), np.split(estimate, 2), strict=True)
    ]
    # 1e-6: the mean of two float32 values
    assert metrics.pesq_wb(bursts, estimate) == pytest.approx(np.mean(halves), abs=1e-6)
    # a piece where the reference has nothing to say is left out ...
    half = len(t) // 2
    bursts[half:] = 0
    assert metrics.pesq_wb(bursts, estimate) == pytest.approx(halves[0], abs=1e-6)
    paused = np.where(np.arange(len(t)) < half, estimate, 0)  # pesq itself divides 0 by 0 here
    assert metrics.pesq_wb(bursts, paused) == pytest.approx(halves[0], abs=1e-6)
    # ... one where the estimate misses what it says is not, for that would flatter
    bursts[half:], estimate[half:] = bursts[:half], 0
    with pytest.raises(UndefinedScore, match="estimate is silent"):
        metrics.pesq_wb(bursts, estimate)


def test_estoi_is_reproducible_and_leaves_numpys_generator_alone():
    estimate = NOISY.copy()
    estimate[8000:24000] = 0  # a drop-out: pystoi scores its own random numbers there
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = metrics.estoi(SPEECH, estimate)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(8)  # noqa: NPY002
    assert metrics.estoi(SPEECH, estimate) == first


AWKWARD = {
    "one sample": (np.ones(1), np.full(1, 0.5)),
    "four samples": ([3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0]),
    "350 samples": (SPEECH[3000:3350], NOISY[3000:3350]),
    "constant": (np.full(20000, 0.3), SPEECH[:20000]),
    "constant estimate": (SPEECH[:20000], np.full(20000, 0.3)),
    "click": (np.eye(1, 20000, 9000)[0], SPEECH[:20000]),
    "faint": (1e-6 * SPEECH[:20000], 1e-6 * NOISY[:20000]),
    "faint estimate": (SPEECH[:20000], 1e-12 * SPEECH[:20000]),
    "below silence": (1e-9 * SPEECH[:20000], 1e-9 * NOISY[:20000]),
    "huge": (1e6 * SPEECH[:20000], 1e6 * NOISY[:20000]),
    "estimate much too loud": (SPEECH[:20000], 1e4 * NOISY[:20000]),
    "half silent": (SPEECH[:20000], np.where(np.arange(20000) < 10000, SPEECH[:20000], 0)),
    "odd length": (SPEECH[:17777], NOISY[:17777]),
    "sine": (np.sin(0.3 * np.arange(20000)), np.sin(0.3 * np.arange(20000) + 1)),
}


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.slow
def test_evaluate_answers_anything_finite_with_numbers_or_reasons(case):
    scores = evaluate(*AWKWARD[case])
    assert list(scores) == SCHEMA
    json.dumps(scores, allow_nan=False)  # no NaN, no infinity: it goes into analysis.json
    assert all(isinstance(value, float) for value in scores.values() if value is not None)
    assert set(scores.notes) == {name for name, value in scores.items() if value is None}
    assert all(scores.notes.values())


# ---- evaluate, mean_scores, validate ------------------------------------------------------


def test_metrics_are_chosen_by_name_and_come_in_the_registrys_order():
    assert list(evaluate(SPEECH, NOISY, metrics=["rmse", "snr_db"])) == ["snr_db", "rmse"]
    assert list(evaluate(SPEECH, NOISY, metrics="rmse")) == ["rmse"]
    scores = evaluate(SPEECH, NOISY, metrics=["rmse", "visqol"], exclude=("visqol",))
    assert list(scores) == ["rmse", "visqol"]
    assert scores["visqol"] is None
    assert scores.notes == {"visqol": "left out, as asked"}


@pytest.mark.parametrize("argument", ["metrics", "exclude"])
def test_an_unknown_name_is_refused_with_the_list(argument):
    with pytest.raises(ValueError, match=rf"{argument}: got \['psnr'\].*snr_db.*visqol"):
        evaluate(SPEECH, NOISY, **{argument: ["rmse", "psnr"]})


def test_another_sample_rate_is_brought_to_16_khz(noisy_scores):
    pair = [soxr.resample(x, RATE, 48000) for x in (SPEECH, NOISY)]
    scores = evaluate(*pair, sample_rate=48000, metrics=["snr_db", "log_mel_mae", "stoi"])
    # the noise near 8 kHz is lost twice in resampling: a few hundredths of its power
    for name, value in scores.items():
        assert value == pytest.approx(noisy_scores[0][name], rel=0.05), name
    with pytest.raises(ValueError, match="sample_rate: got 0"):
        evaluate(SPEECH, NOISY, sample_rate=0)


@pytest.mark.parametrize("kind", [list, torch.tensor, np.float64, "grad"])
def test_inputs_of_every_kind(kind):
    convert = {
        list: lambda x: x.tolist(),
        torch.tensor: torch.tensor,
        np.float64: lambda x: x.astype(np.float64),
        "grad": lambda x: torch.tensor(x, requires_grad=True),
    }[kind]
    chosen = ["snr_db", "lsd_db", "log_mel_mae", "mrstft", "stoi"]
    expected = evaluate(SPEECH, NOISY, metrics=chosen)
    assert evaluate(convert(SPEECH), convert(NOISY), metrics=chosen) == expected


def test_the_inputs_are_left_as_they_were():
    reference, estimate = SPEECH.copy(), NOISY.copy()
    evaluate(reference, estimate, exclude=["visqol"])
    np.testing.assert_array_equal(reference, SPEECH)
    np.testing.assert_array_equal(estimate, NOISY)


def test_nan_is_refused_by_name():
    broken = SPEECH.copy()
    broken[5] = np.nan
    with pytest.raises(ValueError, match=r"estimate: .*NaN"):
        evaluate(SPEECH, broken)


def test_a_mean_says_how_many_were_scored():
    some = [
        Scores({"snr_db": 1.0, "pesq_wb": 2.0, "visqol": None}, {"visqol": "why"}),
        Scores({"snr_db": 4.0, "pesq_wb": None, "visqol": None}, {"pesq_wb": "why"}),
        Scores({"snr_db": 4.0}),
    ]
    means = mean_scores(some)
    assert list(means) == ["snr_db", "pesq_wb", "visqol"]
    assert means["snr_db"] == (3.0, 3)
    assert means["pesq_wb"] == (2.0, 1)
    assert means["visqol"] == (None, 0)
    with pytest.raises(ValueError, match="at least one clip"):
        mean_scores([])


def test_a_value_that_is_no_number_is_noted_as_such(monkeypatch):
    broken = replace(metrics.METRICS["rmse"], function=lambda reference, estimate: math.nan)
    monkeypatch.setitem(metrics.METRICS, "rmse", broken)
    scores = metrics.evaluate(SPEECH, NOISY, exclude=set(metrics.METRICS) - {"rmse"})
    assert scores["rmse"] is None
    assert scores.notes["rmse"].startswith("not a number")
