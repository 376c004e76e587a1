"""Bits: what is coded is decoded, at the rate that was asked for; what is no stream is refused."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from vaerecon.audio.buffers import FolderStore, MemoryTrack
from vaerecon.audio.clip import load_audio
from vaerecon.bundled import TINY, demo_clips
from vaerecon.codec import Header, LatentCodec, rans
from vaerecon.codec.latent_codec import FILE, LAYOUT, to_frames
from vaerecon.codec.quantiser import DEAD_ZONE, N_STEPS, step_of
from vaerecon.mel.front_end import log_mel
from vaerecon.models.autoencoder import vae_hash

GOLDEN = Path(__file__).parents[1] / "data" / "golden.vrec"  # of golden_latent, step 4
GOLDEN_NUMBERS = "6dfe8b4592040d87"  # start of the SHA-256 of its symbols
SPEECH = demo_clips()["demo_speech"]


@pytest.fixture(scope="module")
def codec() -> LatentCodec:
    return LatentCodec.from_pretrained("tiny")


@pytest.fixture(scope="module")
def speech(tiny) -> torch.Tensor:
    return tiny.encode(log_mel(load_audio(SPEECH).samples))


@pytest.fixture(scope="module")
def short(codec, speech) -> bytes:
    return codec.encode(speech[:, :25], step=6.0)


def golden_latent(frames: int = 60) -> torch.Tensor:
    """Whole numbers of a thirty-second each: the same on every machine."""
    wave = (np.arange(8 * frames * 16) * 7919 % 61 - 30).reshape(8, frames, 16)
    return torch.from_numpy((wave / 32).astype(np.float32))


def with_checksum(data: bytes) -> bytes:
    rest = data[: LAYOUT.size - 4] + data[LAYOUT.size :]
    return data[: LAYOUT.size - 4] + struct.pack("<I", zlib.crc32(rest)) + data[LAYOUT.size :]


def scaled_error(codec, latent, decoded) -> np.ndarray:
    """Of the coefficients, in posterior deviations."""
    difference = (decoded - latent).numpy() / codec.constants["deviation"][:, None, None]
    return to_frames(difference) @ codec.constants["rotation"].astype(float)


# The entropy coder


def test_every_sequence_of_numbers_comes_back_at_its_ideal_length():
    rng = np.random.default_rng(0)
    for _ in range(200):
        reach = int(rng.integers(1, 128))
        sizes = np.ones(2 * reach + 1, int)
        sizes += rng.multinomial(rans.PARTS - len(sizes), rng.dirichlet(np.full(len(sizes), 0.3)))
        symbols = rng.choice(len(sizes), int(rng.integers(1, 300)), p=sizes / rans.PARTS)
        symbols = symbols[(symbols > 0) & (symbols < 2 * reach)]  # the ends say that more follows
        table = rans.Table(sizes)
        starts = [table.starts[s] for s in symbols]
        data = rans.encode(starts, [table.sizes[s] for s in symbols])
        numbers, place = rans.decode(rans.to_words(data), 0, [table] * len(symbols))
        assert numbers == [s - reach for s in symbols]
        assert 2 * place == len(data)
        assert 8 * len(data) <= (16 - np.log2(sizes[symbols])).sum() + 48


def test_the_stream_is_at_most_half_a_percent_above_the_ideal_code_length(codec, tiny):
    for path in demo_clips().values():
        latent = tiny.encode(log_mel(load_audio(path, 6).samples))
        data = codec.encode(latent, kbps=4.8)
        symbols = codec._symbols(MemoryTrack(latent, -2), Header.read(data).step_index)
        ideal = sum((16 - np.log2(sizes)).sum() for _, sizes in symbols)
        assert 8 * Header.read(data).payload <= 1.005 * ideal


# The codec


@pytest.mark.parametrize("step", [0.5, 1.0, 4.0, 8.0, 32.0, 64.0])
def test_no_coefficient_is_further_off_than_its_bin(codec, speech, step):
    decoded = codec.decode(codec.encode(speech, step=step))
    assert decoded.shape == speech.shape
    assert decoded.dtype == torch.float32
    bound = (0.5 + DEAD_ZONE) * step + 0.1  # the rotation is orthonormal in float16
    assert np.abs(scaled_error(codec, speech, decoded)).max() <= bound


def test_a_latent_unlike_any_sound_takes_several_symbols_and_comes_back(codec, speech):
    loud = 40 * speech[:, :50]
    decoded = codec.decode(codec.encode(loud, step=1.0))
    assert np.abs(scaled_error(codec, loud, decoded)).max() <= 0.6 + 2  # float16 rotation x 40


@pytest.mark.parametrize("kbps", [1.0, 3.2, 4.8, 8.0])
def test_the_rate_is_not_exceeded_and_the_next_finer_step_would(codec, speech, kbps):
    head = Header.read(codec.encode(speech, kbps=kbps))
    assert head.kbps <= kbps
    assert head.kbps == pytest.approx(8 * head.payload / (head.n_samples / 16000) / 1000)
    finer = Header.read(codec.encode(speech, step=step_of(head.step_index - 1)))
    assert finer.step_index == head.step_index - 1
    assert finer.kbps > kbps * 0.99  # the search counts up to 48 bits for the end of a stream


def test_bits_buy_closeness(codec, speech):
    sizes, errors = [], []
    for step in (1.0, 2.0, 4.0, 8.0, 16.0):
        data = codec.encode(speech, step=step)
        sizes.append(len(data))
        errors.append(np.abs(scaled_error(codec, speech, codec.decode(data))).mean())
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


def test_prediction_and_tables_pay(codec, speech):
    """Each part of the codec saves bits on a clip that it was not learned from."""
    without = dict(codec.constants, predictor=0 * codec.constants["predictor"])
    plain = LatentCodec(without, codec.vae)
    assert len(codec.encode(speech, step=4.0)) < 0.95 * len(plain.encode(speech, step=4.0))


def test_the_header_keeps_what_was_given(codec, speech):
    n = 640 * speech.shape[1] - 600
    data = codec.encode(speech, step=4.0, n_samples=n, gain=2.5, method="admm", seed=7)
    head = Header.read(data)
    assert (head.n_samples, head.gain, head.method, head.seed) == (n, 2.5, "admm", 7)
    assert head.step == 4.0
    assert head.vae.hex() == codec.vae
    assert LAYOUT.size == 40


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"latent": torch.zeros(1, 8, 4, 16)}, "shape"),
        ({"latent": torch.zeros(8, 16, 4)}, "shape"),
        ({"latent": torch.zeros(8, 0, 16)}, "shape"),
        ({"latent": torch.full((8, 4, 16), torch.nan)}, "finite"),
        ({"latent": torch.full((8, 4, 16), 1e9)}, "unlike"),
        ({"n_samples": 999_999}, "samples"),
        ({"kbps": 4.8, "step": 4.0}, "one of them"),
        ({"step": None}, "one of them"),
        ({"step": -1.0}, "above 0"),
        ({"step": None, "kbps": 1e-3}, "too low"),
        ({"method": "silence"}, "method"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_coded_is_refused(codec, change, word):
    settings = {"latent": golden_latent(8), "step": 4.0} | change
    with pytest.raises(ValueError, match=word):
        codec.encode(**settings)


# Golden bytes


def test_the_golden_latent_has_the_golden_bytes(codec):
    assert codec.encode(golden_latent(), step=4.0) == GOLDEN.read_bytes()


@pytest.mark.process
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fresh_process_reads_the_same_numbers_from_the_golden_bytes(codec, threads):
    code = (
        "import hashlib, sys, torch; from vaerecon.codec import LatentCodec\n"
        f"torch.set_num_threads({threads})\n"
        "latent = LatentCodec.from_pretrained().decode(open(sys.argv[1], 'rb').read())\n"
        "print(hashlib.sha256(latent.numpy().round(4).tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, GOLDEN], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    here = codec.decode(GOLDEN.read_bytes())
    assert done.stdout.strip() == hashlib.sha256(here.numpy().round(4).tobytes()).hexdigest()


def test_the_golden_bytes_hold_the_golden_numbers(codec):
    data = GOLDEN.read_bytes()
    head = Header.read(data)
    tables = [codec._tables[row] for row in codec.constants["table_of"][head.step_index]]
    numbers, _ = rans.decode(rans.to_words(data[LAYOUT.size :]), 0, tables * head.frames)
    digest = hashlib.sha256(np.array(numbers, "<i4").tobytes()).hexdigest()
    assert digest.startswith(GOLDEN_NUMBERS)


# What is no stream


def test_ten_thousand_mutations_are_refused(codec, short):
    rng = np.random.default_rng(1)
    for i in range(10_000):
        data = bytearray(short)
        kind, place = i % 5, int(rng.integers(len(data)))
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data += rng.bytes(int(rng.integers(1, 50)))
        elif kind == 3:
            data[place : place + 8] = rng.bytes(8)
        else:
            del data[place : place + int(rng.integers(1, 20))]
        if bytes(data) != short:
            with pytest.raises(ValueError, match=r"vrec|codec"):
                codec.decode(bytes(data))


def test_mutations_under_a_right_checksum_do_no_harm(codec, short):
    """A stream that somebody forged: an error, or a latent of the length that it says."""
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(1000):
        data = bytearray(short)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(LAYOUT.size, len(data)))] = int(rng.integers(256))
        started = time.perf_counter()
        try:
            latent = codec.decode(with_checksum(bytes(data)))
            assert latent.shape == (8, 25, 16)
            assert torch.isfinite(latent).all()
        except ValueError:
            refused += 1
        assert time.perf_counter() - started < 5
    assert refused > 990  # the end of the stream shows it


@pytest.mark.parametrize(
    ("place", "value", "word"),
    [
        (0, b"RIFF", "no .vrec"),
        (4, b"\x02", "version 2"),
        (5, b"\xff", "impossible values"),  # method
        (6, b"\xff\xff", "impossible values"),  # step
        (8, b"\0\0\0\0", "impossible values"),  # no samples
        (8, b"\xff\xff\xff\xff", "cannot hold"),  # 74 hours
        (8, b"\x01\0\0\0", "impossible values|damaged|more is coded"),
        (12, struct.pack("<f", np.nan), "impossible values"),
        (12, struct.pack("<f", -1), "impossible values"),
        (20, bytes(8), "VAE"),
        (28, bytes(8), "tables"),
    ],
)
def test_absurd_headers_are_refused_before_anything_is_allocated(codec, short, place, value, word):
    data = with_checksum(short[:place] + value + short[place + len(value) :])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=word):
            codec.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 3, 4, 39, 40])
def test_a_file_cut_in_its_header_is_refused(codec, short, size):
    with pytest.raises(ValueError, match="vrec"):
        codec.decode(short[:size])


@pytest.mark.slow
def test_a_long_stream_takes_the_memory_of_a_short_one(codec, speech, tmp_path, monkeypatch):
    """The second minute takes no more than the first, which is a stream of its own."""
    peaks = []  # so far, when each minute is read

    def peak() -> int:
        return tracemalloc.get_traced_memory()[1]

    with FolderStore(tmp_path, tmp_path) as store:
        latent = store.keep((speech[:, :125] for _ in range(24)), axis=-2)
        read = latent.read
        monkeypatch.setattr(latent, "read", lambda *ends: (peaks.append(peak()), read(*ends))[1])
        tracemalloc.start()
        try:
            data = codec.encode(latent, step=8.0)
            for piece in codec.decoded_pieces(data):
                assert piece.shape[-2] == 1500
            peaks.append(peak())
        finally:
            tracemalloc.stop()
    assert len(peaks) == 3
    assert peaks[2] - 3 * len(data) < 1.1 * peaks[1]


# Constants


def test_tables_that_were_saved_are_the_same(codec, tmp_path, short):
    codec.save_pretrained(tmp_path)
    again = LatentCodec.from_pretrained(tmp_path)
    assert (again.hash, again.vae) == (codec.hash, codec.vae)
    assert torch.equal(again.decode(short), codec.decode(short))


def test_tables_learned_from_other_sound_code_and_are_told_apart(tiny, codec, short, speech):
    own = LatentCodec.fit([path for path in demo_clips().values()], tiny)
    assert own.vae == codec.vae
    assert own.hash != codec.hash
    with pytest.raises(ValueError, match="tables"):
        own.decode(short)
    decoded = own.decode(own.encode(speech, step=2.0))
    assert np.abs(scaled_error(own, speech, decoded)).max() <= 1.3


def test_too_little_sound_to_learn_from_is_refused(tiny, sound):
    for clips in ([sound], []):
        with pytest.raises(ValueError, match="10 s"):
            LatentCodec.fit(clips, tiny)


def test_another_model_s_codec_is_refused(tiny, codec):
    assert vae_hash(tiny.vae) == codec.vae
    with torch.no_grad():
        weight = next(tiny.vae.parameters())
        kept = weight.clone()
        weight[0] += 0.1
        other = vae_hash(tiny.vae)
        weight.copy_(kept)
    with pytest.raises(ValueError, match=f"the VAE {other}"):
        codec.check(other)


def test_the_vae_s_name_is_that_of_its_weights_in_any_dtype(tiny):
    import copy

    half = copy.deepcopy(tiny.vae).to(torch.bfloat16)
    assert vae_hash(half) == vae_hash(tiny.vae)


@pytest.mark.parametrize("fault", ["none", "cut", "shape", "sums", "zero", "name"])
def test_damaged_tables_are_refused(tmp_path, fault):
    arrays, path = load_file(TINY / FILE), tmp_path / FILE
    path.parent.mkdir()
    if fault == "shape":
        arrays["table_of"] = arrays["table_of"][: N_STEPS // 2]
    if fault == "sums":
        arrays["frequencies"][3, 127] -= 1
    if fault == "zero":
        arrays["deviation"][2] = 0
    if fault == "name":
        del arrays["mean"]
    if fault != "none":
        save_file(arrays, path, {"vae": "00" * 8})
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="codec"):
        LatentCodec.from_pretrained(tmp_path)
