"""Long sounds: files as in memory, flat memory, no seams, and written whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.sounds import make_sound
from helpers.system import wait_for

from vaerecon.audio.buffers import FileTrack, FolderStore, MemoryTrack
from vaerecon.audio.clip import Clip, load_audio, stream_audio, wav_header, write_wav
from vaerecon.audio.samples import measure_level, normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.mel.front_end import log_mel, log_mel_section
from vaerecon.metrics.scores import METRICS, evaluate
from vaerecon.metrics.signals import UndefinedScore

SLOW = ("visqol", "pesq_wb")
CHUNK = 8.0  # s; the shortest, so that 20 s are three windows
SECONDS = 20


def long_sound(seconds: float) -> np.ndarray:
    """The bundled clips one after another, at the same level, with an odd length."""
    clips = [load_audio(path).samples for path in demo_clips().values()]
    x = np.concatenate([x / np.abs(x).max() for x in clips])
    return np.resize(0.3 * x + np.float32(0.01), round(16000 * seconds) - 37).astype(np.float32)


@pytest.fixture(scope="module")
def sound_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.wav"
    write_wav(path, long_sound(SECONDS))
    return path


@pytest.fixture(scope="module")
def in_windows(tiny):
    """The tiny model with the shortest windows there are."""
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline(tiny.vae, tiny.vocoder)
    pipe.set_progress_bar_config(disable=True)
    pipe.chunk_seconds = CHUNK
    return pipe


@pytest.fixture(scope="module")
def in_memory(in_windows, sound_path):
    return in_windows(load_audio(sound_path), ["griffinlim"], exclude_metrics=SLOW)


@pytest.fixture(scope="module")
def from_file(in_windows, sound_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "out"
    found = in_windows.reconstruct_file(sound_path, folder, ["griffinlim"], exclude_metrics=SLOW)
    return found, folder


# ---- one road: in memory and from file to file


@pytest.mark.slow
def test_from_file_to_file_is_what_memory_gives(in_memory, from_file):
    found, folder = from_file
    names = [
        "long_analysis.json",
        "long_griffinlim_reconstruction.wav",
        "long_original.wav",
        "long_spectrograms.png",
    ]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert [p.name for p in found.files] == names
    assert [p.name for p in folder.parent.iterdir()] == ["out"]  # no scratch is left
    for name, samples in (
        ("long_original.wav", in_memory.reference),
        ("long_griffinlim_reconstruction.wav", in_memory.audio["griffinlim"]),
    ):
        assert np.array_equal(load_audio(folder / name).samples, samples.numpy())
    ours, theirs = json.loads((folder / names[0]).read_text()), in_memory.analysis("long")
    for analysis in (ours, theirs):
        for group in ("methods", "without_vae"):
            for entry in analysis[group].values():
                del entry["seconds"], entry["real_time_factor"]
    assert ours == theirs
    assert found.table.index.equals(in_memory.table.index)


@pytest.mark.parametrize(
    "arrays",
    [
        lambda found: found.audio,
        lambda found: found.mel,
        lambda found: found.methods["griffinlim"].samples,
        lambda found: found.save("nowhere"),
    ],
)
@pytest.mark.slow
def test_the_result_of_a_file_has_no_arrays_and_says_so(from_file, arrays):
    with pytest.raises(ValueError, match=r"no arrays.*pipe\(load_audio\(path\)\)"):
        arrays(from_file[0])
    assert not Path("nowhere").exists()


@pytest.mark.slow
def test_a_long_file_needs_little_disk_on_its_way(in_windows, sound_path, tmp_path, monkeypatch):
    """At the end: the normalised samples, the mels and the latent; sounds are results, or gone."""
    left = {}
    real = FolderStore.__exit__

    def look(store, *error):
        left.update({p.name: p.stat().st_size for p in store.scratch.iterdir()})
        real(store, *error)

    monkeypatch.setattr(FolderStore, "__exit__", look)
    found = in_windows.reconstruct_file(sound_path, tmp_path, "silence", exclude_metrics=SLOW)
    samples, frames = found.clip.n_samples, found.frames
    assert sum(left.values()) == 4 * (samples + 2 * 64 * frames + found.latent_values)


def test_a_short_file_is_computed_whole(tiny, clip, tmp_path):
    """The same bits as the stages called one by one on the whole clip."""
    write_wav(tmp_path / "chord.wav", clip.samples)
    tiny.reconstruct_file(tmp_path / "chord.wav", tmp_path / "out", "griffinlim",
                          exclude_metrics=SLOW)  # fmt: skip
    normalized, level = normalize_level(clip.samples)
    mel = tiny.decode(tiny.encode(log_mel(normalized, normalize=False)))
    expected = level.restore(tiny.synthesize(mel, "griffinlim", n_samples=len(normalized)))
    written = load_audio(tmp_path / "out" / "chord_griffinlim_reconstruction.wav").samples
    assert np.array_equal(written, expected.numpy())


@pytest.mark.slow
def test_the_picture_of_a_long_clip_says_what_it_shows(in_memory):
    excerpt = in_memory.excerpt(seconds=5)
    assert "loudest 5 s" in excerpt.clip.name
    energies = [
        float(in_memory.reference[16000 * i : 16000 * (i + 5)].double().square().sum())
        for i in range(SECONDS - 5)
    ]
    start = int(np.argmax(energies))
    assert torch.equal(excerpt.reference, in_memory.reference[16000 * start : 16000 * (start + 5)])
    assert torch.equal(excerpt.mel, in_memory.mel[100 * start : 100 * (start + 5)])
    assert excerpt.latent.shape == (8, 125, 16)
    assert in_memory.excerpt().clip.name == "long"  # of a clip that is short enough: all


# ---- no seams


def seam_frames(n_frames: int) -> torch.Tensor:
    """Which frames lie where one window passes into the next."""
    from vaerecon.utils.windows import plan_windows

    plan = plan_windows(CHUNK, 100)
    seam, start = torch.zeros(n_frames, dtype=torch.bool), 0
    while plan.stop(start, n_frames) < n_frames:
        start = plan.stop(start, n_frames) - plan.overlap
        seam[start + plan.margin : start + plan.margin + plan.fade] = True
    assert seam.sum() == 2 * plan.fade
    return seam


@pytest.mark.slow
def test_the_vae_in_windows_adds_less_than_five_percent_and_no_seam(tiny, in_memory):
    """Through windows of 8 s, of which a minute of the default 30 s has a quarter of the seams."""
    mel = in_memory.mel
    whole = tiny.decode(tiny.encode(mel), n_frames=len(mel))
    error, of_whole = ((x - mel).abs().mean(dim=-1) for x in (in_memory.mel_decoded, whole))
    assert not torch.equal(in_memory.mel_decoded, whole)
    assert error.mean() < 1.05 * of_whole.mean()
    # some passages are harder than others: compare with the whole at the same frames
    seam = seam_frames(len(mel))
    assert error[seam].mean() < 1.05 * of_whole[seam].mean()
    step = in_memory.mel_decoded.diff(dim=0).abs().mean(dim=-1)
    of_whole_step = whole.diff(dim=0).abs().mean(dim=-1)
    assert step[seam[1:]].mean() < 1.05 * of_whole_step[seam[1:]].mean()


@pytest.mark.slow
def test_phase_methods_have_no_seam(tiny, in_memory):
    """Error and frame-to-frame steps where windows meet, beside those of the whole clip there."""
    mel, n_samples = in_memory.mel_decoded, len(in_memory.reference)
    whole = tiny.synthesize(mel, "griffinlim", n_samples=n_samples)
    found = in_memory.methods["griffinlim"]
    seam = seam_frames(len(mel))
    heard = log_mel(found.samples / found.gain, normalize=False), log_mel(whole, normalize=False)
    error, of_whole = (float((x - mel).abs().mean(dim=-1)[seam].mean()) for x in heard)
    assert error < 1.1 * of_whole
    step, of_whole_step = (float(x.diff(dim=0).abs().mean(dim=-1)[seam[1:]].mean()) for x in heard)
    assert step == pytest.approx(of_whole_step, rel=0.1)


@pytest.mark.slow
def test_the_vocoder_in_windows_equals_the_whole(tiny, in_windows, in_memory):
    mel = in_memory.mel[:1000]
    whole = tiny.synthesize(mel, "vocoder")
    torch.testing.assert_close(in_windows.synthesize(mel, "vocoder"), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["oracle_phase", "silence"])
@pytest.mark.slow
def test_other_methods_take_long_mels_too(in_windows, in_memory, name):
    mel, n_samples = in_memory.mel, len(in_memory.reference)
    original = normalize_level(in_memory.reference)[0]
    found = in_windows.synthesize(mel, name, n_samples=n_samples, original=original)
    assert found.shape == (n_samples,)
    batch = in_windows.synthesize(torch.stack([mel, mel]), name, n_samples=n_samples,
                                  original=torch.stack([original, original]))  # fmt: skip
    torch.testing.assert_close(batch[1], found, atol=1e-5, rtol=0)


# ---- the parts: mel, level, samples, tracks


def test_the_mel_in_sections_is_exact():
    x = torch.from_numpy(long_sound(7))
    for framing in ("train", "inference"):
        whole = log_mel(x, normalize=False, framing=framing)
        n_frames, cuts = len(whole), [0, 1, 150, 400, len(whole) - 4, len(whole)]
        for first, last in itertools.pairwise(cuts):
            part = log_mel_section(lambda a, b: x[a:b], len(x), first, last, framing=framing)
            # the same sums in blocks of another size
            torch.testing.assert_close(part, whole[first:last], atol=1e-5, rtol=0)
        assert n_frames == 700 + (framing == "inference")


def test_the_mel_of_a_long_array_is_that_of_its_sections():
    x = torch.from_numpy(long_sound(31))
    from vaerecon.mel.front_end import magnitude_to_log_mel, stft_frames

    plain = magnitude_to_log_mel(stft_frames(normalize_level(x)[0]).abs())
    torch.testing.assert_close(log_mel(x), plain, atol=1e-5, rtol=0)


def test_the_level_in_sections():
    x = torch.from_numpy(long_sound(7))
    level, blocks = normalize_level(x)[1], measure_level(len(x), lambda a, b: x[a:b], 16000)
    # float32 and float64 sums
    torch.testing.assert_close(blocks.mean, level.mean, atol=1e-8, rtol=1e-5)
    torch.testing.assert_close(blocks.gain, level.gain, atol=0, rtol=1e-5)
    whole = measure_level(len(x), lambda a, b: x[a:b], len(x))
    assert (whole.mean, whole.gain) == (level.mean, level.gain)
    with pytest.warns(UserWarning, match="silent"):
        silent = measure_level(50, lambda a, b: torch.full((b - a,), 0.2), 20)
    assert torch.equal(silent.apply(torch.full((50,), 0.2)), torch.zeros(50))


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
@pytest.mark.parametrize(("offset", "length"), [(0.0, None), (1.3, 2.0)])
def test_samples_in_blocks_are_those_of_load_audio(tmp_path, rate, channels, offset, length):
    rng = np.random.default_rng(0)
    sf.write(tmp_path / "x.wav", 0.1 * rng.standard_normal((6 * rate, channels)), rate)
    whole = load_audio(tmp_path / "x.wav", length, offset)
    with stream_audio(tmp_path / "x.wav", length, offset) as sound:
        blocks = list(sound.blocks)
    assert sound.name == "x"
    assert sound.seconds == pytest.approx(whole.duration)
    assert np.array_equal(np.concatenate(blocks), whole.samples)
    # against one call of the resampler on the whole file
    import soxr

    x = sf.read(tmp_path / "x.wav", dtype="float32", always_2d=True)[0].mean(axis=1)
    plain = soxr.resample(x, rate, 16000, quality="VHQ") if rate != 16000 else x
    start = round(16000 * offset)
    np.testing.assert_allclose(whole.samples, plain[start : start + len(whole.samples)], atol=1e-6)


def test_the_wav_header_is_scipys(tmp_path):
    from scipy.io import wavfile

    x = make_sound(0.1)
    wavfile.write(tmp_path / "scipy.wav", 16000, x)
    write_wav(tmp_path / "ours.wav", x)
    assert (tmp_path / "ours.wav").read_bytes() == (tmp_path / "scipy.wav").read_bytes()


def test_more_than_a_wav_file_holds_is_refused():
    with pytest.raises(ValueError, match=r"20\.0 hours.*--max-length"):
        wav_header(20 * 3600 * 16000)


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_track_in_a_file_is_that_in_memory(tmp_path, axis):
    values = torch.randn(8, 50, 16, generator=torch.Generator().manual_seed(0))
    memory, file = MemoryTrack(values, axis), FileTrack(tmp_path / "t", axis, header=b"head")
    ends = [0, 3, 4, len(memory)]
    for start, stop in itertools.pairwise(ends):
        file.append(memory.read(start, stop))
    assert file.shape == memory.shape
    assert len(file) == len(memory)
    for start, stop in ((0, len(memory)), (2, 9), (5, 5)):
        assert torch.equal(file.read(start, stop), memory.read(start, stop))
    file.close()
    assert (tmp_path / "t").stat().st_size == 4 + 4 * values.numel()


# ---- metrics in blocks

BLOCKWISE = [n for n in METRICS if n not in (*SLOW, "stoi", "estoi")]


@pytest.fixture(scope="module")
def noisy_pair():
    x = long_sound(10)
    rng = np.random.default_rng(0)
    return x, (0.8 * x + 0.01 * rng.standard_normal(len(x))).astype(np.float32)


@pytest.mark.parametrize("name", BLOCKWISE)
def test_metrics_in_blocks_are_those_of_the_whole(noisy_pair, name, monkeypatch):
    from vaerecon.metrics import signals, spectral

    whole = METRICS[name].function(*noisy_pair)
    for module in (signals, spectral):
        monkeypatch.setattr(module, "BLOCK", 16000)
    # float64 sums in another order; the mel is float32
    assert METRICS[name].function(*noisy_pair) == pytest.approx(whole, rel=1e-6)


def test_perfect_scores_stay_perfect_in_blocks(noisy_pair, monkeypatch):
    from vaerecon.metrics import signals

    monkeypatch.setattr(signals, "BLOCK", 16000)
    scores = evaluate(noisy_pair[0], noisy_pair[0], metrics=BLOCKWISE)
    assert "no error" in scores.notes["snr_db"]
    assert scores["rmse"] == 0
    assert scores["correlation"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["stoi", "estoi"])
def test_stoi_of_a_long_clip_is_the_mean_of_its_pieces(noisy_pair, name, monkeypatch):
    from vaerecon.metrics import perceptual

    x, y = noisy_pair
    half = -(-len(x) // 2)
    function = METRICS[name].function
    parts = [function(x[:half], y[:half]), function(x[half:], y[half:])]
    monkeypatch.setattr(perceptual, "STOI_LONGEST", 6 * 16000)
    assert function(x, y) == pytest.approx(sum(parts) / 2, abs=1e-12)
    # a piece with nothing to hear is left out, one that misses what there is to hear counts
    quiet = np.where(np.arange(len(x)) < half, x, 0).astype(np.float32)
    assert function(quiet, y) == pytest.approx(parts[0], abs=1e-12)
    lost = np.where(np.arange(len(x)) < half, y, 0).astype(np.float32)
    assert function(x, lost) == pytest.approx(parts[0] / 2, abs=1e-12)


def test_visqol_of_a_long_clip_is_the_mean_of_its_pieces(noisy_pair, monkeypatch):
    from vaerecon.metrics import perceptual
    from vaerecon.metrics.signals import pieces_of

    lengths = []

    class Api:
        def measure_from_arrays(self, reference, estimate, rate):
            lengths.append(len(reference) / rate)
            return type("Result", (), {"moslqo": float(len(lengths))})

    monkeypatch.setattr(perceptual, "_visqol_api", Api)
    monkeypatch.setattr(perceptual, "VISQOL_LONGEST", 4 * 16000)
    assert METRICS["visqol"].function(*noisy_pair) == 2.0  # of 1, 2 and 3
    assert max(lengths) <= 4
    assert sum(lengths) == pytest.approx(len(noisy_pair[0]) / 16000, abs=1e-3)
    assert pieces_of(7, 3) == [(0, 3), (3, 5), (5, 7)]
    constant = np.repeat(np.float32([0.1, 0.2, 0.3]), len(noisy_pair[0]))[::3]
    constant = constant[: len(noisy_pair[0])]
    with pytest.raises(UndefinedScore):
        METRICS["visqol"].function(np.full_like(constant, 0.1), noisy_pair[1])


def test_metrics_of_tracks_are_those_of_arrays(noisy_pair, tmp_path):
    tracks = []
    for i, x in enumerate(noisy_pair):
        track = FileTrack(tmp_path / str(i))
        for part in np.array_split(x, 7):
            track.append(torch.from_numpy(part))
        tracks.append(track)
    seen = []
    scores = evaluate(*tracks, exclude=SLOW, on_metric=seen.append)
    assert scores == evaluate(*noisy_pair, exclude=SLOW)
    assert seen == list(METRICS)
    tracks[1].append(torch.tensor([float("nan")]))
    tracks[0].append(torch.zeros(1))
    with pytest.raises(ValueError, match="estimate: got NaN"):
        evaluate(*tracks, metrics=["correlation"])
    for track in tracks:
        track.close()


# ---- memory, faults, interrupts

CHILD = """
import sys, torch
from diffusers import AutoencoderKL
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline

torch.manual_seed(0)
layout = dict(in_channels=1, out_channels=1, latent_channels=8, norm_num_groups=4,
    down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
    block_out_channels=[4, 4, 4], layers_per_block=1, mid_block_add_attention=False)
vocoder = SpeechT5HifiGanConfig(model_in_dim=64, sampling_rate=16000, upsample_initial_channel=32,
    upsample_rates=[5, 4, 2, 2, 2], upsample_kernel_sizes=[16, 16, 8, 4, 4])
pipe = ReconstructionPipeline(AutoencoderKL(**layout).eval(), SpeechT5HifiGan(vocoder).eval())
pipe.set_progress_bar_config(disable=True)
pipe.chunk_seconds = 8.0
kept = ("snr_db", "correlation", "log_mel_mae")
pipe.reconstruct_file(*sys.argv[1:3], "silence", without_vae=False,
    exclude_metrics=[name for name in METRICS if name not in kept])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from Linux")
@pytest.mark.process
def test_memory_does_not_grow_with_the_clip(zygote, tmp_path):
    """All stages, by the smallest models, over one minute and three.

    Two minutes of samples are 7.7 MB; the clip, its reference, a method's sound and the mels kept
    in memory would add 29 MB.
    """
    peaks = []
    for minutes in (1, 3):
        path = tmp_path / f"{minutes}.wav"
        write_wav(path, long_sound(60 * minutes))
        done = zygote.run([str(path), str(tmp_path / f"out{minutes}")], code=CHILD)
        assert done.status == 0, done.stderr
        peaks.append(done.peak)
    assert peaks[1] < peaks[0] + 7_000  # kB


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.process
@pytest.mark.fault
def test_an_interrupt_in_mid_run_leaves_nothing(zygote, tmp_path, sound_path, number):
    command = ["reconstruct", str(sound_path), "--output-dir", str(tmp_path / "results"),
               "--methods", "admm", "--chunk-seconds", "8"]  # fmt: skip
    writes = ".results-*/new/long_original.wav"
    begun = partial(wait_for, lambda: list(tmp_path.glob(writes)))
    done = zygote.run(command, number=number, after=begun)
    assert done.status == 130, done.stderr
    assert "nothing half-written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_breaks_off_in_the_middle_leaves_nothing(in_windows, tmp_path):
    x = long_sound(12)
    x[-100] = np.nan
    sf.write(tmp_path / "bad.wav", x, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match="got NaN"):
        in_windows.reconstruct_file(tmp_path / "bad.wav", tmp_path / "out", "silence")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.wav"]


def test_out_of_memory_in_a_method_falls_back_to_shorter_windows(in_windows, monkeypatch):
    """An error as CUDA raises it, injected into one method."""
    from dataclasses import replace

    from vaerecon import methods

    real = methods.METHODS["silence"]

    def scarce(log_mel, n_samples, generator):
        if n_samples > 10 * 16000:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return real.function(log_mel, n_samples, generator)

    monkeypatch.setitem(methods.METHODS, "silence", replace(real, function=scarce))
    monkeypatch.setattr(in_windows, "chunk_seconds", 30.0)
    with pytest.warns(UserWarning, match=r"silence: out of memory with 15 s.*--chunk-seconds 8"):
        found = in_windows.synthesize(torch.zeros(1500, 64), "silence")
    assert found.shape == (240000,)


@pytest.mark.parametrize("seconds", [5.0, float("nan"), float("inf")])
def test_impossible_chunks_are_refused(in_windows, clip, monkeypatch, seconds):
    monkeypatch.setattr(in_windows, "chunk_seconds", seconds)
    with pytest.raises(ValueError, match="chunk_seconds: got"):
        in_windows(clip, "silence")


@pytest.mark.slow
def test_the_sum_of_the_clip_is_in_the_analysis(from_file, sound_path):
    samples = load_audio(sound_path).samples
    assert from_file[0].clip.sha256 == hashlib.sha256(samples.tobytes()).hexdigest()
    assert from_file[0].clip.duration == Clip(samples).duration
