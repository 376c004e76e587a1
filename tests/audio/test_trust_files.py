"""Sound files as people really have them: joined, cut short, in other containers, by other names.

A file holds what its samples say, whatever its header says. Files are written here, and damaged
byte by byte as the programs do that damage them.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from helpers.in_process import run
from helpers.sounds import ffmpeg, make_sound, noise, sine

import vaerecon as vr
import vaerecon.lab.setup
from vaerecon.audio import decoding
from vaerecon.audio.clip import load_audio
from vaerecon.comparison.clips import find_clips
from vaerecon.training.data.corpus import find_audio

RATE = 16000
# the second as quiet as it is short; no whole second
FIRST, SECOND = make_sound(1.3), 0.5 * make_sound(0.9, seed=1)
PCM = np.round(FIRST * 32767).astype(np.int16)


def encoded(x: np.ndarray, kind: str, rate: int = RATE) -> bytes:
    """A file's bytes; ``opus`` is a subtype, the others are formats."""
    file = io.BytesIO()
    options = {"opus": ("OGG", "OPUS"), "ogg": ("OGG", "VORBIS")}.get(kind, (kind.upper(), None))
    sf.write(file, x, rate, format=options[0], subtype=options[1])
    return file.getvalue()


@pytest.fixture
def without_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setattr(decoding, "find_ffmpeg", lambda: None)


# --- several streams in one file ------------------------------------------------------------------

JOINED = ["ogg", "opus", "mp3", "flac", "wav", "aiff"]


def join(folder: Path, kind: str, *sounds: np.ndarray) -> tuple[Path, np.ndarray]:
    """A file of streams end to end, and the samples that they hold when each is a file."""
    parts = [encoded(x, kind) for x in sounds]
    single = []
    for part in parts:
        (folder / f"one.{kind}").write_bytes(part)
        single.append(load_audio(folder / f"one.{kind}").samples)
    path = folder / f"joined.{kind}"
    path.write_bytes(b"".join(parts))
    return path, np.concatenate(single)


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("sounds", [(FIRST, SECOND), (FIRST, FIRST, SECOND)], ids=["two", "three"])
def test_all_streams_of_a_file_are_read(tmp_path, without_ffmpeg, kind, sounds):
    """Also twice the same, whose streams have one number: bit for bit what the parts hold."""
    path, expected = join(tmp_path, kind, *sounds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = load_audio(path).samples
    assert len(samples) == sum(map(len, sounds))
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize(("offset", "max_length"), [(0, 1.0), (1.2, 0.5), (2.1, None), (2.5, 9)])
def test_a_section_across_streams_is_that_of_the_whole(tmp_path, kind, offset, max_length):
    path, whole = join(tmp_path, kind, FIRST, SECOND, FIRST)
    stop = None if max_length is None else round((offset + max_length) * RATE)
    section = load_audio(path, max_length, offset).samples
    np.testing.assert_allclose(section, whole[round(offset * RATE) : stop], rtol=0, atol=1e-6)


def test_streams_of_another_rate_and_other_channels(tmp_path):
    """Recordings of radio change them between songs; the tone stays where it is."""
    tone = sine(1.0, 48000, 440.0)
    parts = [encoded(sine(1.0, RATE), "ogg"), encoded(np.stack([tone, tone], 1), "ogg", 48000)]
    (tmp_path / "radio.ogg").write_bytes(b"".join(parts))
    samples = load_audio(tmp_path / "radio.ogg").samples
    assert len(samples) == 2 * RATE
    for part in (samples[:RATE], samples[RATE:]):
        np.testing.assert_allclose(part[1600:-1600], sine(1.0, RATE)[1600:-1600], atol=0.02)


@pytest.mark.process
def test_streams_that_only_ffmpeg_reads(tmp_path):
    sf.write(tmp_path / "a.wav", FIRST, RATE)
    ffmpeg("-i", tmp_path / "a.wav", "-c:a", "flac", tmp_path / "a.ogg")
    (tmp_path / "b.ogg").write_bytes(2 * (tmp_path / "a.ogg").read_bytes())
    expected = load_audio(tmp_path / "a.wav").samples
    assert np.array_equal(load_audio(tmp_path / "b.ogg").samples, np.tile(expected, 2))


TAGS = {
    "ID3v1": b"TAG" + bytes(125),
    "APE": b"APETAGEX" + struct.pack("<6I", 2000, 5000, 0, 0, 0, 0) + bytes(5000),
    "none": b"",
}


@pytest.mark.parametrize("tag", TAGS)
def test_tags_between_joined_mp3(tmp_path, without_ffmpeg, tag):
    path, expected = join(tmp_path, "mp3", FIRST, SECOND)
    first, second = encoded(FIRST, "mp3"), encoded(SECOND, "mp3")
    id3 = b"ID3\x04\0\0" + bytes([0, 0, 7, 104]) + bytes(1000)  # 7 * 128 + 104 bytes
    path.write_bytes(id3 + first + TAGS[tag] + id3 + second + TAGS[tag])
    assert np.array_equal(load_audio(path).samples, expected)


@pytest.mark.parametrize("suffix", ["ac3", "mp2", "mkv"])
@pytest.mark.process
def test_joined_files_of_other_kinds(tmp_path, suffix):
    """ffmpeg goes on by itself where a stream begins anew, and time with it."""
    path = contained(tmp_path, suffix)
    seconds = load_audio(path).duration
    path.write_bytes(2 * path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_audio(path).duration == pytest.approx(2 * seconds, abs=1e-3)


@pytest.mark.filterwarnings("ignore:.*Header missing")
@pytest.mark.parametrize("order", ["bare bare", "bare first", "first bare"])
@pytest.mark.process
def test_joined_mp3_without_the_header_that_tells_its_length(tmp_path, order):
    """Nobody knows where such streams end; all frames are read, with the encoder's delays."""
    sf.write(tmp_path / "a.wav", FIRST, RATE)
    ffmpeg("-i", tmp_path / "a.wav", "-write_xing", "0", tmp_path / "bare.mp3")
    ffmpeg("-i", tmp_path / "a.wav", tmp_path / "first.mp3")
    data = b"".join((tmp_path / f"{name}.mp3").read_bytes() for name in order.split())
    (tmp_path / "joined.mp3").write_bytes(data)
    assert load_audio(tmp_path / "joined.mp3").duration == pytest.approx(2.6, abs=0.25)


def test_a_file_with_one_stream_is_looked_through_only_when_it_is_read_to_its_end(
    tmp_path, monkeypatch
):
    (tmp_path / "long.flac").write_bytes(encoded(make_sound(8.0), "flac"))
    looked = []
    monkeypatch.setattr(decoding, "find_streams", lambda path: looked.append(path) or [0])
    load_audio(tmp_path / "long.flac", max_length=1)
    assert looked == []
    load_audio(tmp_path / "long.flac")
    assert len(looked) == 1


# --- what libsndfile opens and cannot read --------------------------------------------------------


def wav(r: int, d: int, subtype: str = "PCM_16", extra: bytes = b"") -> bytes:
    """A WAV whose sizes of RIFF and data are ``r`` and ``d``, whatever it holds."""
    file = io.BytesIO()
    sf.write(file, FIRST, RATE, format="WAV", subtype=subtype)
    data = file.getvalue()
    at = data.index(b"data")
    head = data[:4] + struct.pack("<I", r) + data[8:at] + extra
    return head + b"data" + struct.pack("<I", d) + data[at + 8 :]


def flac_of(total: int) -> bytes:
    """A FLAC whose header says it has ``total`` samples."""
    data = encoded(FIRST, "flac")
    head = int.from_bytes(data[18:26], "big") & ~(2**36 - 1) | total
    return data[:18] + head.to_bytes(8, "big") + data[26:]


def crc(data: bytes, polynomial: int, bits: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= 2**bits - 1
    return value


def flac_of_variable_blocks() -> bytes:
    """Blocks of 4096 and 1000 samples in turn, under a header that promises blocks of one size."""
    pcm = PCM.astype(">i2")
    frames, at, number = [], 0, 0
    while at < len(pcm):
        n = min((4096, 1000)[number % 2], len(pcm) - at)
        # sync, block size in 16 bits below, 16 kHz, mono, 16 bits; the frame's number; the size
        head = b"\xff\xf8\x75\x08" + bytes([number]) + struct.pack(">H", n - 1)
        head += bytes([crc(head, 0x07, 8)])
        body = head + b"\x02" + pcm[at : at + n].tobytes()  # samples as they are
        frames.append(body + struct.pack(">H", crc(body, 0x8005, 16)))
        at, number = at + n, number + 1
    about = (RATE << 44 | 15 << 36 | len(pcm)).to_bytes(8, "big")
    info = struct.pack(">HH", 1000, 4096) + bytes(6) + about + bytes(16)
    return b"fLaC\x80\0\0\x22" + info + b"".join(frames)


def opus_without_a_last_flag() -> bytes:
    data = bytearray(encoded(FIRST, "opus"))
    page = data.rindex(b"OggS")
    data[page + 5] &= ~4  # "end of stream"
    data[page + 22 : page + 26] = bytes(4)
    data[page + 22 : page + 26] = struct.pack("<I", crc(bytes(data[page:]), 0x04C11DB7, 32))
    return bytes(data)


LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0"
# case -> suffix, content, what a whole file of it is
UNREADABLE: dict[str, tuple[str, bytes, bytes]] = {
    "recorder killed: sizes 0": ("wav", wav(0, 0), wav(0, 2**31)),
    "recorder killed: size of the data 0": ("wav", wav(36, 0), wav(0, 2**31)),
    "recorder killed, a LIST before": ("wav", wav(0, 0, extra=LIST), wav(0, 2**31)),
    "recorder killed, floats": ("wav", wav(0, 0, "FLOAT"), wav(0, 2**31, "FLOAT")),
    "recorder killed, 24 bits": ("wav", wav(0, 0, "PCM_24"), wav(0, 2**31, "PCM_24")),
    "FLAC with too large a count": ("flac", flac_of(40_000), encoded(FIRST, "flac")),
    "FLAC with an absurd count": ("flac", flac_of(2**36 - 1), encoded(FIRST, "flac")),
    "FLAC without a count": ("flac", flac_of(0), encoded(FIRST, "flac")),
    "FLAC of variable blocks": ("flac", flac_of_variable_blocks(), encoded(PCM, "flac")),
    "Opus without a last flag": ("opus", opus_without_a_last_flag(), encoded(FIRST, "opus")),
}


@pytest.mark.parametrize("block", [2**18, 4096], ids=["in its first block", "in its last blocks"])
@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.filterwarnings("ignore:.*incomplete")  # what a wrong count promised
@pytest.mark.process
def test_what_libsndfile_opens_and_cannot_read_is_read_whole(tmp_path, monkeypatch, case, block):
    """Where it fails at the first block, and where it does so only later."""
    monkeypatch.setattr(decoding, "BLOCK", block)
    suffix, broken, whole = UNREADABLE[case]
    (tmp_path / f"broken.{suffix}").write_bytes(broken)
    (tmp_path / f"whole.{suffix}").write_bytes(whole)
    samples = load_audio(tmp_path / f"broken.{suffix}").samples
    expected = load_audio(tmp_path / f"whole.{suffix}").samples
    assert len(samples) == len(FIRST)
    if suffix == "opus":  # ffmpeg decodes at 48 kHz; how a sound begins and ends then differs
        np.testing.assert_allclose(samples[160:-640], expected[160:-640], atol=0.005)
    else:
        assert np.array_equal(samples, expected)
    section = load_audio(tmp_path / f"broken.{suffix}", 0.2, 1.05).samples
    np.testing.assert_allclose(section, samples[16800:20000], rtol=0, atol=2e-3)


@pytest.mark.process
def test_a_count_that_promises_more_is_told(tmp_path):
    (tmp_path / "a.flac").write_bytes(flac_of(32_000))
    with pytest.warns(UserWarning, match=r"a.flac': incomplete: ends at 1.3 s of 2 s"):
        load_audio(tmp_path / "a.flac")


@pytest.mark.parametrize("case", UNREADABLE)
def test_without_ffmpeg_the_message_says_to_install_it(tmp_path, monkeypatch, without_ffmpeg, case):
    monkeypatch.setattr(decoding, "BLOCK", 4096)
    suffix, broken, _ = UNREADABLE[case]
    (tmp_path / f"a.{suffix}").write_bytes(broken)
    with pytest.raises(ValueError, match=r"a\.\w+'.*install ffmpeg"):
        load_audio(tmp_path / f"a.{suffix}")


@pytest.mark.process
def test_what_is_cut_off_is_still_called_damaged(tmp_path):
    """ffmpeg reads its beginning, and says that the rest is broken."""
    data = encoded(make_sound(3.0), "flac")
    (tmp_path / "half.flac").write_bytes(data[: len(data) // 2])
    for block in (2**18, 4096):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="damaged data"):
            patch.setattr(decoding, "BLOCK", block)
            load_audio(tmp_path / "half.flac")


@pytest.mark.process
@pytest.mark.fault
def test_an_ffmpeg_that_crashes_is_told(tmp_path, monkeypatch):
    """Before the first sample, and in the middle: some builds do, on some containers."""
    program = tmp_path / "ffmpeg"
    monkeypatch.setattr(decoding, "find_ffmpeg", lambda: str(program))
    (tmp_path / "a.m4a").write_bytes(bytes(4) + b"ftyp" + bytes(100))
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    with pytest.raises(ValueError, match=r"ffmpeg can read it \(it ended with status -11\)"):
        load_audio(tmp_path / "a.m4a")
    (tmp_path / "floats.au").write_bytes(
        struct.pack(">4s5I", b".snd", 24, 4 * RATE, 6, RATE, 1)
        + FIRST[:RATE].astype(">f4").tobytes()
    )
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/floats.au\nkill -SEGV $$\n")
    with pytest.warns(UserWarning, match=r"may be damaged: it ended with status -11"):
        assert np.array_equal(load_audio(tmp_path / "a.m4a").samples, FIRST[:RATE])


# --- offsets and folders --------------------------------------------------------------------------

# container -> how it is made; amr has no encoder here
CONTAINERS = {
    "ac3": ("-c:a", "ac3"),
    "eac3": ("-c:a", "eac3"),
    "avi": ("-c:a", "libmp3lame"),
    "flv": ("-c:a", "libmp3lame"),
    "mpg": ("-c:a", "mp2"),
    "mp2": ("-c:a", "mp2"),
    "dts": ("-c:a", "dca", "-strict", "-2"),
    "wv": ("-c:a", "wavpack"),
    "mp4": ("-c:a", "aac", "-aac_pns", "0"),
    "mov": ("-c:a", "pcm_s16le"),
    "3gp": ("-c:a", "aac", "-aac_pns", "0"),
}
COARSE = {"webm": ("-c:a", "libopus"), "mkv": ("-c:a", "flac"), "wma": ("-c:a", "wmav2")}


def contained(folder: Path, suffix: str) -> Path:
    """Five seconds of noise in a container."""
    sf.write(folder / "in.wav", noise(5 * 44100), 44100)
    path = folder / f"x.{suffix}"
    ffmpeg("-i", folder / "in.wav", *(CONTAINERS | COARSE)[suffix], path)
    return path


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.process
def test_an_offset_is_exact_in_every_container(tmp_path, suffix):
    path = contained(tmp_path, suffix)
    whole = load_audio(path).samples
    for offset in (2.123456, 3.5):
        section = load_audio(path, 0.5, offset).samples
        start = round(offset * RATE)
        np.testing.assert_allclose(section, whole[start : start + 8000], rtol=0, atol=1e-5)


AMR = b"#!AMR\n" + 50 * (b"\x3c" + bytes(31))  # a second of frames at 12.2 kbit/s


@pytest.mark.parametrize("suffix", [*CONTAINERS, *COARSE, "amr"])
@pytest.mark.process
def test_what_the_loader_reads_by_name_is_found_in_a_folder(tmp_path, suffix):
    if suffix == "amr":
        (tmp_path / "x.amr").write_bytes(AMR)
    else:
        contained(tmp_path, suffix)
    path = tmp_path / f"x.{suffix}"
    assert load_audio(path).duration == pytest.approx(1 if suffix == "amr" else 5, abs=0.1)
    assert str(path) in [file.path for file in find_clips(tmp_path)]
    assert path in find_audio([tmp_path])


def test_every_format_that_libsndfile_writes_is_found_in_a_folder(tmp_path):
    written = []
    for kind in sf.available_formats():
        path = tmp_path / f"x.{kind.lower()}"
        try:
            sf.write(path, FIRST[:2000], RATE, format=kind)
            load_audio(path)
        except (ValueError, TypeError, sf.LibsndfileError):  # what asks for more, such as RAW
            path.unlink(missing_ok=True)
        else:
            written.append(path)
    assert len(written) > 15
    no_names_of_sounds = {"mat4", "mat5", "mpc2k", "sds", "wve", "xi", "wavex"}
    expected = {path for path in written if path.suffix[1:] not in no_names_of_sounds}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert {Path(file.path) for file in find_clips(tmp_path)} == expected
    assert set(find_audio([tmp_path])) == expected


def test_what_is_left_out_of_a_folder_is_counted_and_named(tmp_path, caplog):
    for name in ("a.wav", "b.MP4", ".hidden.txt", *(f"note {i}.txt" for i in range(7))):
        (tmp_path / name).write_bytes(b"x")
    said = r": 7 without the suffix of a sound left out \(note 0.txt, .*note 4.txt and 2 more\)"
    with pytest.warns(UserWarning, match="clips" + said):
        assert len(find_clips(tmp_path)) == 2
    with warnings.catch_warnings():  # named itself: nothing is left out
        warnings.simplefilter("error")
        find_clips([tmp_path, *tmp_path.glob("note*")])
    for _ in range(2):  # a training looks several times
        find_audio([tmp_path])
    assert caplog.text.count("7 without the suffix of a sound left out (note 0.txt") == 1
    for path in (tmp_path / "a.wav", tmp_path / "b.MP4"):
        path.unlink()
    for search in (lambda: find_clips(tmp_path), lambda: find_audio([tmp_path])):
        with pytest.raises(ValueError, match=said):
            search()


# --- what is no name of a file --------------------------------------------------------------------

ADDRESSES = ["https://host.org/a/song.mp3", "http://host/song.mp3?x=1", "s3://bucket/song.mp3"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_on_a_network_is_refused_with_what_to_write(tmp_path, address):
    said = r"got the address '\w+://.*', expected a file .*\(curl -LO '\w+://.*'\).* 'song.mp3'"
    for name in (address, Path(address)):
        with pytest.raises(ValueError, match=said):
            load_audio(name)
        with pytest.raises(ValueError, match=said):
            find_clips([name])
        with pytest.raises(ValueError, match=said):
            find_audio([name])
    commands = (
        [address],
        ["compare", address, "--output", "t.csv"],
        ["report", address],
        ["train", "vae", "--data", address, "--output", "run", "--steps", "1"],
    )
    for command in commands:
        done = run(*command, cwd=tmp_path)
        assert done.status == 2, done
        assert "and write 'song.mp3'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_other_addresses_and_names_that_only_look_like_one(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"expected a path; write '/home/me/song.wav'"):
        load_audio("file:///home/me/song.wav")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    sf.write(tmp_path / "http:" / "x.wav", FIRST, RATE)
    assert load_audio("http:/x.wav").name == "x"


@pytest.mark.parametrize("thing", [b"x.wav", 3, None, io.BytesIO(), np.zeros(9), [0.0], ("a", 1)])
def test_what_is_no_path_is_refused_with_what_to_call(tmp_path, tiny, thing):
    for call in (load_audio, lambda path: tiny.reconstruct_file(path, tmp_path / "out")):
        with pytest.raises(ValueError, match=r"path: got \w+, expected the name.*Clip.from_sampl"):
            call(thing)


# --- numbers that came as text --------------------------------------------------------------------


def test_numbers_as_text_are_refused_by_name(tmp_path, tiny):
    """As papermill and CSV give them."""
    sf.write(tmp_path / "a.wav", FIRST, RATE)
    path = tmp_path / "a.wav"
    calls: dict[str, Callable[[], object]] = {
        "max_length": lambda: load_audio(path, max_length="3"),
        "offset": lambda: load_audio(path, offset="1"),
        "max_length, file": lambda: tiny.reconstruct_file(path, tmp_path / "o", max_length="3"),
        "max_length, notebook": lambda: vr.lab.setup.demo_clip(str(path), "3"),
        "max_length, compare": lambda: vr.compare(path, max_length="3"),
        "workers": lambda: vr.compare(path, workers="2"),
        "threads": lambda: vr.compare(path, threads="2"),
        "seed": lambda: tiny(FIRST, seed="0"),
        "seed, compare": lambda: vr.compare(path, seed="0"),
        "sample_rate": lambda: vr.metrics.evaluate(FIRST, FIRST, "16000"),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{name.split(',')[0]}: got '\d+', expected"):
            call()
