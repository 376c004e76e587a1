"""Metrics that compare a reconstruction (the estimate) with the original (the reference).

Conventions: every metric is a function ``(reference, estimate) -> float`` of one clip, ``[N]``
samples at 16 kHz each (numpy, torch, a list or a track), of the same length and already aligned; it
runs on the CPU, in float64 (log_mel_mae in float32, as the front-end). :func:`evaluate` computes
all of them. For a signal on which a metric has no value (undefined or infinite) its result is None,
with the reason in ``scores.notes``. (The functions themselves raise :class:`UndefinedScore`, or
return the infinite value.) A peak at or below 1e-8 is silence.

========================= ============== ====== ===================================================
metric                    range          better what it measures, and its limits
========================= ============== ====== ===================================================
snr_db                    -inf..inf dB   higher waveform error; see the note on phase
si_sdr_db                 -inf..inf dB   higher SNR after scaling, blind to gain; -35 dB is normal
correlation               -1..1          higher Pearson; waveform similarity, blind to gain and DC
rmse                      0..            lower  size of the waveform error; depends on the level
log_mel_mae               0.. nepers     lower  error of the VAE's input; sees level, not phase
lsd_db                    0.. dB         lower  log spectra; inaudible bins count as much as others
spectral_convergence_db   -inf..inf dB   lower  magnitudes; only the loudest bins count
mrstft                    0..            lower  linear and log magnitudes at three resolutions
pesq_wb                   1..4.64 MOS    higher speech quality; not made for music and noise
stoi                      0..1 (about)   higher speech intelligibility by band envelopes
estoi                     0..1 (about)   higher STOI for modulated maskers; stricter
visqol                    1..4.73 MOS    higher audio quality; saturates near its top
========================= ============== ====== ===================================================

``dnsmos`` [7]_ (1..5 MOS, higher; extra ``metrics``) is computed only if it is named: quality of
noisy speech, of the estimate alone. Distances of two sets: :mod:`vaerecon.metrics.sets`.

Phase. The first four metrics compare samples. A method that estimates the phase gives a sound that
is incoherent with the original (correlation near 0), even if it sounds good; these metrics then
measure loudness only, and digital silence, at 0.00 dB SNR, is better. Compare with ``silence``.

Level. The spectral metrics (log_mel_mae, lsd_db, spectral_convergence_db, mrstft) and ViSQOL remove
each signal's mean and scale both signals by the same gain, which brings the reference's peak to
0.5, as the mel front-end does. So they do not depend on the level of the recording, but the
spectral ones respond to an estimate that is louder or softer than its reference.

Length. Sums are computed over blocks of ten seconds, in the memory of one block. PESQ, STOI and
ViSQOL are the mean over pieces (:mod:`vaerecon.metrics.perceptual`).

Notebook: ``04_method_comparison``.

References
----------
.. [1] J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019: SI-SDR.
.. [2] A. Gray and J. Markel, "Distance measures for speech processing", IEEE TASSP 1976: LSD.
.. [3] R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020: multi-resolution STFT.
.. [4] ITU-T P.862.2, 2007: PESQ, wide band; package ``pesq``.
.. [5] C. Taal et al., IEEE TASLP 2011: STOI; J. Jensen and C. Taal, 2016: ESTOI; ``pystoi``.
.. [6] M. Chinen et al., "ViSQOL v3", QoMEX 2020; package ``visqol-python``.
.. [7] C. Reddy et al., "DNSMOS P.835", ICASSP 2022: the overall score; package ``speechmos``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "perceptual": ["dnsmos", "estoi", "pesq_wb", "stoi", "visqol"],
        "scores": ["METRICS", "ON_REQUEST", "Mean", "Metric", "Scores", "evaluate", "mean_scores",
                   "metric", "metric_names", "register"],
        "signals": ["UndefinedScore"],
        "spectral": ["log_mel_mae", "lsd_db", "mrstft", "spectral_convergence_db"],
        "waveform": ["correlation", "rmse", "si_sdr_db", "snr_db"],
    },
)  # fmt: skip
