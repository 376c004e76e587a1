"""Files to clips and back. Every file is written here, by soundfile or by ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import torch
from helpers.sounds import ffmpeg, noise, sine, write_flac
from helpers.system import unprivileged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaerecon.audio.clip import SAMPLE_RATE, Clip, load_audio, stream_audio, write_wav
from vaerecon.audio.decoding import find_ffmpeg
from vaerecon.audio.joined_files import find_mp3_streams


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Three seconds of noise, 44.1 kHz stereo, 16 bits."""
    path = tmp_path / "three seconds.wav"
    soundfile.write(path, noise(2 * 3 * 44100).reshape(-1, 2), 44100)
    return path


# Formats


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        # libsndfile writes 1.0 as 2**(bits-1) - 1 and reads that by 2**(bits-1): a step at most
        ("wav", "PCM_U8", 1 / 2**7),
        ("wav", "PCM_16", 1 / 2**15),
        ("wav", "PCM_24", 1 / 2**23),
        ("wav", "PCM_32", 2**-24),  # float32 has 24 bits
        ("wav", "FLOAT", 2**-24),
        ("wav", "DOUBLE", 2**-24),
        ("flac", "PCM_16", 1 / 2**15),
        ("flac", "PCM_24", 1 / 2**23),
        ("aiff", "PCM_16", 1 / 2**15),
        ("ogg", "VORBIS", 0.02),  # lossy: 0.5 is the signal's amplitude
        ("mp3", "MPEG_LAYER_III", 0.02),
    ],
)
def test_formats_keep_samples(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    x = sine(1.0, SAMPLE_RATE)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, x, SAMPLE_RATE, subtype=subtype)
    clip = load_audio(path)
    assert (clip.samples.dtype, clip.samples.shape) == (np.float32, (16000,))
    assert (clip.sample_rate, clip.name, clip.duration) == (16000, "tone", 1.0)
    # the first and last tenth hold the lossy codecs' edges
    middle = slice(1600, -1600)
    assert np.abs(clip.samples[middle] - x[middle]).max() < tolerance


@pytest.mark.parametrize(("codec", "tolerance"), [("alac", 1.2 / 2**15), ("aac", 0.02)])
@pytest.mark.process
def test_m4a_through_ffmpeg(tmp_path: Path, codec: str, tolerance: float) -> None:
    x = sine(1.0, SAMPLE_RATE)
    soundfile.write(tmp_path / "tone.wav", x, SAMPLE_RATE)
    path = tmp_path / "tone.m4a"
    ffmpeg("-i", tmp_path / "tone.wav", "-c:a", codec, path)
    samples = load_audio(path).samples
    # aac may keep its last, padded frame of 1024 samples; 0.02: lossy
    assert 16000 <= len(samples) <= 16000 + 1024
    assert np.abs(samples[1600:14400] - x[1600:14400]).max() < tolerance


@pytest.mark.process
def test_wave_of_a_codec_that_libsndfile_does_not_know(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", sine(1.0, 44100), 44100)
    ffmpeg("-i", tmp_path / "in.wav", "-c:a", "wmav2", tmp_path / "out.wav")
    assert load_audio(tmp_path / "out.wav").duration == pytest.approx(1.0, abs=0.1)  # its frames


@pytest.mark.process
def test_variable_bit_rate_mp3_without_a_header_is_read_whole(tmp_path: Path) -> None:
    # quiet noise first and loud noise after: libsndfile takes the first bit rate for all of it
    x = np.concatenate([noise(44100) * 1e-3, noise(5 * 44100)])
    soundfile.write(tmp_path / "in.wav", x, 44100)
    path = tmp_path / "headerless.mp3"
    ffmpeg("-i", tmp_path / "in.wav", "-c:a", "libmp3lame", "-q:a", "0", "-write_xing", "0", path)
    guessed = soundfile.info(path).duration
    assert abs(guessed - 6) > 0.5, "the premise: libsndfile's guess is wrong"
    assert load_audio(path).duration == pytest.approx(6, abs=0.1)  # mp3's frames and delay


def test_the_length_of_an_mp3_is_found_behind_a_tag(tmp_path: Path) -> None:
    """Tags with a picture are longer than the stretch that is searched for the header."""
    plain, tagged = tmp_path / "plain.mp3", tmp_path / "tagged.mp3"
    soundfile.write(plain, sine(1.0, SAMPLE_RATE), SAMPLE_RATE)
    size = 20_000
    head = b"ID3\4\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    tagged.write_bytes(head + bytes(size) + plain.read_bytes())
    assert find_mp3_streams(plain) == find_mp3_streams(tagged) == [0]
    assert np.array_equal(load_audio(tagged).samples, load_audio(plain).samples)


# Rates and channels


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
    | st.integers(8000, 192000),
    channels=st.integers(1, 8),
    n=st.integers(1, 3000),
    subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
)
def test_any_rate_channels_and_subtype(
    tmp_path: Path, rate: int, channels: int, n: int, subtype: str
) -> None:
    x = noise(n * channels).reshape(n, channels)
    soundfile.write(tmp_path / "any.wav", x, rate, subtype=subtype)
    clip = load_audio(tmp_path / "any.wav")
    assert clip.samples.dtype == np.float32
    assert len(clip.samples) == max(1, (2 * n * 16000 + rate) // (2 * rate))
    assert np.isfinite(clip.samples).all()
    if rate == 16000:  # the mean of the channels; the tolerance is a step of 8 bits
        np.testing.assert_allclose(clip.samples, x.mean(axis=1), atol=1 / 2**7)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000, 44101])
def test_resampling_keeps_frequency_phase_and_level(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "tone.wav", sine(1.0, rate, 1000.0), rate, subtype="FLOAT")
    samples = load_audio(tmp_path / "tone.wav").samples
    assert len(samples) == 16000
    middle = slice(1000, -1000)  # the filter rings where the sine is switched on and off
    error = np.abs(samples[middle] - sine(1.0, 16000, 1000.0)[middle]).max()
    # soxr's very high quality is good to 28 bits; files and results are float32, amplitude 0.5.
    # A delay of a hundredth of a sample would show as 2e-3.
    assert error < 1e-6


def test_what_is_above_the_new_nyquist_frequency_is_gone(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", sine(1.0, 48000, 11000.0), 48000, subtype="FLOAT")
    # aliased, it would stand at 5 kHz with amplitude 0.5; -120 dB of that is left at most
    assert np.abs(load_audio(tmp_path / "high.wav").samples[1000:-1000]).max() < 0.5e-6


def test_another_target_rate(wav: Path) -> None:
    clip = load_audio(wav, sample_rate=24000)
    assert (clip.sample_rate, len(clip.samples), clip.duration) == (24000, 72000, 3.0)


def test_equal_rate_returns_the_values_of_the_file(tmp_path: Path) -> None:
    x = (noise(5000) * 30).astype(np.float32)  # far beyond 1, kept
    assert np.abs(x).max() > 5
    soundfile.write(tmp_path / "loud.wav", x, 16000, subtype="FLOAT")
    assert np.array_equal(load_audio(tmp_path / "loud.wav").samples, x)


# Sections


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a"])
@pytest.mark.parametrize(
    ("offset", "max_length"),
    [(0, 0.5), (0.3, 1), (2, 2), (2.123456, 1.001), (3.9, None), (4.7, 60)],
)
@pytest.mark.process
def test_section_equals_the_same_section_of_the_whole(
    sections: Callable[[str], tuple[Path, np.ndarray]],
    suffix: str,
    offset: float,
    max_length: float | None,
) -> None:
    path, whole = sections(suffix)
    section = load_audio(path, max_length, offset).samples
    start = round(offset * 16000)
    expected = whole[start:]
    if max_length is not None:
        expected = expected[: round(max_length * 16000)]
    # the decoders' own rounding, as they start elsewhere; the signal has a deviation of 0.07
    np.testing.assert_allclose(section, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def sections(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Path, np.ndarray]]:
    """Five seconds of stereo noise in any format, and what the whole file holds."""
    folder = tmp_path_factory.mktemp("sections")
    soundfile.write(folder / "noise.wav", noise(2 * 5 * 44100).reshape(-1, 2), 44100)
    loaded: dict[str, np.ndarray] = {}

    def get(suffix: str) -> tuple[Path, np.ndarray]:
        path = folder / f"noise.{suffix}"
        if suffix not in loaded:
            if suffix == "m4a":
                # without -aac_pns 0 the decoder fills in noise of its own, never twice the same
                ffmpeg("-i", folder / "noise.wav", "-c:a", "aac", "-aac_pns", "0", path)
            elif suffix != "wav":
                soundfile.write(path, soundfile.read(folder / "noise.wav")[0], 44100)
            loaded[suffix] = load_audio(path).samples
        return path, loaded[suffix]

    return get


def test_max_length_beyond_the_end_gives_what_there_is(wav: Path) -> None:
    assert load_audio(wav, max_length=100).duration == 3.0


@pytest.mark.parametrize("suffix", ["wav", "m4a"])
@pytest.mark.process
def test_offset_past_the_end(
    sections: Callable[[str], tuple[Path, np.ndarray]], suffix: str
) -> None:
    path, _ = sections(suffix)
    for offset in (5.5, 1000):  # inside the margin that is read early, and far beyond
        with pytest.raises(ValueError, match=r"offset: got .* expected less than the length of"):
            load_audio(path, max_length=1, offset=offset)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_bad_max_length(wav: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"max_length: got .* expected a positive number"):
        load_audio(wav, max_length=value)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_bad_offset(wav: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"offset: got .* expected a number of seconds"):
        load_audio(wav, offset=value)


def peak_bytes(path: Path, max_length: float, offset: float) -> tuple[Clip, int]:
    """Load a section, and the most memory that Python and numpy held meanwhile."""
    tracemalloc.start()
    try:
        clip = load_audio(path, max_length, offset)
        return clip, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_follows_what_is_asked_for_not_the_file(tmp_path: Path) -> None:
    """Ten seconds from the end of three hours: the result is 0.64 MB, the whole 345 MB."""
    path, rate, n, length = tmp_path / "long.wav", 8000, 3 * 3600 * 8000, 10 * 8000
    soundfile.write(path, np.zeros(0), rate)
    tail = (sine(10, rate, hz=1000) * 2**15).astype("<i2")
    with open(path, "r+b") as file:  # sparse: silence takes no room on the disk
        for position, size in ((4, 36 + 2 * n), (40, 2 * n)):  # the two sizes in a WAV header
            file.seek(position)
            file.write(size.to_bytes(4, "little"))
        file.seek(44 + 2 * (n - length))
        file.write(tail.tobytes())
    assert soundfile.info(path).duration == 3 * 3600

    clip, peak = peak_bytes(path, max_length=10, offset=3 * 3600 - 10)
    assert clip.duration == 10
    middle = slice(1000, -1000)
    expected = sine(10, 16000, hz=1000)
    assert np.abs(clip.samples[middle] - expected[middle]).max() < 1 / 2**15  # 16-bit steps
    # 0.64 MB in pieces, joined and cut out, and a few blocks of 1 MiB; a whole read takes 100 times
    assert peak < 8e6


def test_memory_of_many_fast_channels(tmp_path: Path) -> None:
    """One second from the end of 20: 192 kHz x 8 channels hold 6 MB a second, 123 MB in all."""
    path = tmp_path / "wide.wav"
    with soundfile.SoundFile(path, "w", 192000, 8, "PCM_16") as file:
        for _ in range(20):
            file.write(np.zeros((192000, 8), np.int16))
    clip, peak = peak_bytes(path, max_length=1, offset=19)
    assert clip.duration == 1
    assert (
        peak < 12e6
    )  # blocks of 1 MiB as float32 and, for the mean, as float64; a second is 64 kB


@pytest.mark.process
def test_memory_through_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "long.m4a"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono")
    ffmpeg(*silence, "-t", "1800", "-c:a", "aac", "-b:a", "16k", path)
    clip, peak = peak_bytes(path, max_length=10, offset=1780)
    assert clip.duration == 10
    assert peak < 8e6  # the whole is 115 MB at 16 kHz


# Legal but unusual sound


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192000])
def test_one_sample(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "one.wav", [0.25], rate, subtype="FLOAT")
    samples = load_audio(tmp_path / "one.wav").samples
    assert len(samples) == (2 if rate == 8000 else 1)
    if rate >= 96000:  # less than half a sample of the result: the mean
        assert samples[0] == 0.25


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.3])
def test_silence_clipping_and_dc(tmp_path: Path, value: float) -> None:
    soundfile.write(tmp_path / "dc.wav", np.full(44100, value), 44100, subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = load_audio(tmp_path / "dc.wav").samples
    np.testing.assert_allclose(samples[1000:-1000], value, atol=1e-6)  # soxr: 28 bits


def test_incomplete_file_warns_and_gives_what_there_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.mp3", noise(5 * 44100), 44100)
    data = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "half.mp3").write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match="'.*half.mp3': incomplete: ends at .* of 5 s"):
        clip = load_audio(tmp_path / "half.mp3")
    assert 2 < clip.duration < 3


# Names


@pytest.mark.parametrize(
    "stem", ["-dash", "--help", "with space", "it's", '"quoted"', "müsik 音楽", "a:b", "%d", "-"]
)
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
@pytest.mark.process
def test_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone: Path, stem: str, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(tone.with_suffix(f".{suffix}"), tmp_path / f"{stem}.{suffix}")
    for path in (f"{stem}.{suffix}", tmp_path / f"{stem}.{suffix}"):
        clip = load_audio(path)
        assert clip.name == stem
        assert clip.duration == pytest.approx(0.1, abs=0.13)  # aac's padding: 1024 samples at 8 kHz


@pytest.mark.process
def test_a_file_named_dash_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(tone, tmp_path / "-")
    assert load_audio("-").duration == 0.1  # not the standard input


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of a second, as wav and, beside it, as m4a; the wav's path."""
    path = tmp_path_factory.mktemp("tone") / "tone.wav"
    soundfile.write(path, sine(0.1, 8000), 8000)
    ffmpeg("-i", path, path.with_suffix(".m4a"))
    return path


# What is no sound


def write_text(path: Path) -> None:
    path.write_text("these are words, not sound\n" * 100)


def write_header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16000)


def write_half_a_header(path: Path) -> None:
    soundfile.write(path, np.zeros(100), 16000)
    path.write_bytes(path.read_bytes()[:20])


def write_nan(path: Path) -> None:
    soundfile.write(path, [0.0, np.nan, 0.1], 16000, subtype="FLOAT")


def write_infinity(path: Path) -> None:
    soundfile.write(path, [0.0, np.inf, 0.1], 44100, subtype="FLOAT")


def write_slow(path: Path) -> None:
    soundfile.write(path, np.zeros(100), 4000)


def write_playlist(path: Path) -> None:
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )


def write_script(path: Path) -> None:
    """A list of files, of which ffmpeg would read the good one that it names."""
    soundfile.write(path.with_name("good.wav"), noise(1000), 16000)
    path.write_text("ffconcat version 1.0\nfile good.wav\n")
    ffmpeg("-i", path, "-f", "null", "-")  # the premise: left to itself, it does


def write_picture(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=size=16x16:duration=0.2", "-f", "mp4", path)


def write_damaged_flac(path: Path) -> None:
    soundfile.write(path, noise(50000), 16000, format="FLAC")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def write_nothing(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("words.wav", write_text, "neither libsndfile nor ffmpeg can read it"),
        ("words.mp3", write_text, "neither libsndfile nor ffmpeg can read it"),
        ("words.m4a", write_text, "neither libsndfile nor ffmpeg can read it"),
        ("words.raw", write_text, "neither libsndfile nor ffmpeg can read it"),
        ("header.wav", write_header_only, "got no samples, expected at least one"),
        ("half.wav", write_half_a_header, "neither libsndfile nor ffmpeg can read it"),
        ("empty.flac", write_nothing, r"it is empty \(0 bytes\)"),
        ("nan.wav", write_nan, "got NaN or infinite values, expected finite ones"),
        ("inf.wav", write_infinity, "got NaN or infinite values, expected finite ones"),
        ("slow.wav", write_slow, "got a sample rate of 4000, expected .* from 8000 to 192000"),
        # what ffmpeg says stands in brackets: its wording is that of its version
        ("list.m4a", write_playlist, r"neither libsndfile nor ffmpeg can read it \(.+\);"),
        ("script.m4a", write_script, r"neither libsndfile nor ffmpeg can read it \(.+\);"),
        ("picture.m4a", write_picture, r"neither libsndfile nor ffmpeg can read it \(.+\);"),
        ("damaged.flac", write_damaged_flac, "got damaged data after .* expected a whole file"),
    ],
)
@pytest.mark.process
def test_refused(tmp_path: Path, name: str, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as caught:
        load_audio(tmp_path / name)
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.process
def test_an_ffmpeg_on_the_path_goes_first_then_the_package_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(find_ffmpeg()).is_relative_to(Path(imageio_ffmpeg.__file__).parent)
    assert 0.1 <= load_audio(tone.with_suffix(".m4a")).duration <= 0.3  # aac's padding
    own = tmp_path / ("ffmpeg.exe" if os.name == "nt" else "ffmpeg")
    own.touch(mode=0o755)
    assert Path(find_ffmpeg()) == own


@pytest.mark.process
def test_without_ffmpeg_the_message_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed
    message = r"tone.m4a', libsndfile cannot read it; install ffmpeg or convert to wav/flac"
    with pytest.raises(ValueError, match=message):
        load_audio(tone.with_suffix(".m4a"))
    assert load_audio(tone).duration == 0.1  # the others do not need it


@pytest.mark.process
def test_a_length_that_nobody_knows_is_never_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a FLAC without a count: where ffmpeg does not work, and where there is none."""
    path = tmp_path / "streamed.flac"
    write_flac(path, 16000, 16000, total=0)
    assert soundfile.info(path).frames == 2**63 - 1
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\nexit 1\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with stream_audio(path) as source:
        assert source.seconds is None
    own.unlink()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"flac' of unknown length, libsndfile cannot read it"):
        load_audio(path)


@pytest.mark.filterwarnings("ignore:.*incomplete")  # the guess is longer than the file
@pytest.mark.process
def test_without_ffmpeg_a_guessed_length_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone: Path
) -> None:
    ffmpeg("-i", tone, "-c:a", "libmp3lame", "-write_xing", "0", tmp_path / "headerless.mp3")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.warns(UserWarning, match="headerless.mp3': no length in its header"):
        load_audio(tmp_path / "headerless.mp3")


def test_missing_folder_pipe_and_unreadable(tmp_path: Path, wav: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"got '.*no.wav', expected a sound file"):
        load_audio(tmp_path / "no.wav")
    with pytest.raises(IsADirectoryError, match=r"got the folder '.*', expected a sound file"):
        load_audio(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for ever
        with pytest.raises(OSError, match="it is a pipe or a device"):
            load_audio(tmp_path / "pipe.wav")
    if hasattr(os, "geteuid"):
        wav.chmod(0)
        with (
            unprivileged(),
            pytest.raises(PermissionError, match="expected a file that may be read"),
        ):
            load_audio(wav)


# Arrays to clips


def test_from_samples_mixes_down_and_resamples_as_load_audio_does(tmp_path: Path) -> None:
    x = noise(2 * 44100).reshape(-1, 2).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", x, 44100, subtype="FLOAT")
    clip = Clip.from_samples(x, 44100, "x")
    assert (clip.name, clip.sample_rate, len(clip.samples)) == ("x", 16000, 16000)
    # one block here, several there
    np.testing.assert_allclose(clip.samples, load_audio(tmp_path / "x.wav").samples, atol=1e-7)


def test_from_samples_takes_what_numpy_converts() -> None:
    expected = np.array([0.0, 0.5, -0.25], np.float32)
    for samples in (
        expected,
        expected.astype(np.float64),
        expected[:, None],
        expected.tolist(),
        torch.tensor(expected),
        torch.tensor(expected, requires_grad=True),
        (expected * 2**15).astype(np.int16),
        (expected * 2.0**31).astype(np.int32),
    ):
        assert np.array_equal(Clip.from_samples(samples, 16000).samples, expected)


def test_a_clip_owns_its_samples() -> None:
    x = np.zeros(4, np.float32)
    clip = Clip.from_samples(x, 16000)
    x[:] = 1
    assert not clip.samples.any()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 100)), r"got shape \[2, 100\], expected \[N\] or \[N, channels\]; .*\.T"),
        (np.zeros((1, 100)), r"got shape \[1, 100\]"),
        (np.zeros((3, 3)), r"got shape \[3, 3\]"),  # which axis is time?
        (np.zeros((1, 2, 3)), r"got shape \[1, 2, 3\]"),
        (np.float32(1), r"got shape \[\]"),
        ([], r"got none \(shape \[0\]\), expected at least one"),
        ([0.0, float("nan")], "got NaN or infinite values"),
        ([0.0, 1e300], "got NaN or infinite values"),  # beyond float32
        (np.zeros(3, np.uint8), "got ndarray .uint8 values., expected floats"),
        (np.zeros(3, complex), "expected floats"),
        (["a", "b"], "expected floats"),
        ([[0.0], [0.0, 1.0]], "expected floats"),
        (None, "expected floats"),
        (torch.zeros(3, dtype=torch.bfloat16), "got Tensor .*BFloat16.* expected floats"),
    ],
)
def test_from_samples_refuses(samples: object, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            Clip.from_samples(samples, 16000)


@pytest.mark.parametrize("rate", [0, -1, 7999, 192001, 44100.5, float("nan"), "16000", None])
def test_bad_rates(tmp_path: Path, wav: Path, rate: object) -> None:
    for call in (
        lambda: Clip.from_samples([0.0], rate),
        lambda: Clip(np.zeros(1, np.float32), rate),
        lambda: write_wav(tmp_path / "x.wav", [0.0], rate),
        lambda: load_audio(wav, sample_rate=rate),
    ):
        with pytest.raises(ValueError, match=r"got a sample rate of .* expected a whole number"):
            call()
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.parametrize(
    "samples", [[0.0], np.zeros(3), np.zeros((3, 1), np.float32), np.zeros(0, np.float32)]
)
def test_clip_refuses_what_from_samples_would_convert(samples: object) -> None:
    with pytest.raises(ValueError, match=r"expected a numpy float32 array \[N\]; use Clip.from_sa"):
        Clip(samples)


def test_clip_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Clip(np.zeros(3, np.float32)).name = "other"


# Writing


def test_written_is_what_was_given_bit_for_bit(tmp_path: Path) -> None:
    # beyond 1 (PCM would clip it) and far below a 16-bit step (PCM would round it to zero)
    x = np.concatenate([noise(1000) * 50, noise(1000) * 1e-6, [1.0, -1.0, 0.0]]).astype(np.float32)
    assert np.abs(x).max() > 5
    write_wav(tmp_path / "x.wav", x)
    assert np.array_equal(load_audio(tmp_path / "x.wav").samples, x)
    info = soundfile.info(tmp_path / "x.wav")
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "FLOAT", 16000, 1)


def test_write_is_repeatable_and_replaces(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "a.wav"):
        write_wav(tmp_path / name, sine(0.1, 16000))
    data = (tmp_path / "a.wav").read_bytes()
    assert data == (tmp_path / "b.wav").read_bytes()
    assert b"PEAK" not in data  # libsndfile's chunk, which holds the time of day


def test_write_takes_tensors_lists_and_rates(tmp_path: Path) -> None:
    for samples in (torch.tensor([0.5, -0.5]), [0.5, -0.5], np.array([0.5, -0.5])):
        write_wav(tmp_path / "x.wav", samples, sample_rate=44100)
        read, rate = soundfile.read(tmp_path / "x.wav")
        assert (read.tolist(), rate) == ([0.5, -0.5], 44100)


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 100)), np.zeros((100, 2)), [], [0.0, np.nan], np.zeros(3, int)]
)
def test_write_refuses_and_leaves_no_file(tmp_path: Path, samples: object) -> None:
    with pytest.raises(ValueError, match=r"samples: got .*, expected"):
        write_wav(tmp_path / "x.wav", samples)
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.process
def test_import_is_light() -> None:
    """Errors and ``--help`` of the command line wait for these imports."""
    code = (
        "import sys, vaerecon.audio.clip; "
        "print({'torch', 'librosa', 'scipy', 'IPython', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
