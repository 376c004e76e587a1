"""Training audio: any folder, any rate, in memory or from disk the same, changed as asked."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.sounds import make_sound, write_flac
from helpers.training_parts import write_sounds

from vaerecon.audio.decoding import find_ffmpeg
from vaerecon.training.data.augmentation import NO_AUGMENTATION, Augmentation, bell_db, colour
from vaerecon.training.data.corpus import Batches, Corpus, InMemory, OnDisk, held_out, split
from vaerecon.training.parts.part import Data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Files of several rates, lengths, formats and numbers of channels."""
    folder = tmp_path_factory.mktemp("mixed")
    kinds = [(16000, 1, "wav"), (44100, 2, "flac"), (8000, 1, "wav"), (48000, 1, "ogg"),
             (22050, 2, "mp3"), (96000, 1, "wav")]  # fmt: skip
    for seed, (rate, channels, suffix) in enumerate(kinds):
        x = np.interp(np.arange(0, 1.5 + 0.3 * seed, 1 / rate),
                      np.arange(0, 4, 1 / 16000), make_sound(4.0, seed))  # fmt: skip
        sf.write(folder / f"{suffix}_{rate}.{suffix}", np.stack([x] * channels, axis=1), rate)
    return folder


def test_validation_files_are_never_trained_on(folder):
    train, validation = Corpus([folder]), Corpus([folder], part="validation")
    assert len(train.clips) == 10
    assert len(validation.clips) == 2
    for clip in validation.clips:
        assert not any(np.array_equal(clip.samples, other.samples) for other in train.clips)


def test_neither_part_is_ever_empty():
    few = [Path(f"{name}.wav") for name in "abc"]
    assert not any(held_out(f.name) for f in few)
    train, validation = split(few)
    assert (len(train), len(validation)) == (2, 1)
    taken = [n for n in (f"{i}.wav" for i in range(99)) if held_out(n)][:2]
    train, validation = split([Path(n) for n in taken])
    assert (len(train), len(validation)) == (1, 1)
    assert set(train) | set(validation) == {Path(n) for n in taken}
    with pytest.raises(ValueError, match="got one file, expected at least two"):
        split(few[:1])
    with pytest.raises(ValueError, match=r"all files are called 'a\.wav'"):
        split([Path("x/a.wav"), Path("y/a.wav")])


def test_every_rate_and_layout_becomes_16_khz_mono(mixed):
    train, validation = Corpus([mixed]), Corpus([mixed], part="validation")
    assert len(train.clips) + len(validation.clips) == 6
    lengths = sorted(len(clip) for clip in train.clips + validation.clips)
    wanted = sorted(round(16000 * (1.5 + 0.3 * i)) for i in range(6))
    np.testing.assert_allclose(lengths, wanted, atol=2000)  # mp3 pads
    assert train.seconds == sum(len(clip) for clip in train.clips) / 16000


def test_from_disk_and_from_memory_come_the_same_crops(mixed):
    """Up to the 16 bits that memory rounds to."""
    memory, disk = Corpus([mixed]), Corpus([mixed], memory_limit=0)
    assert not memory.streaming
    assert disk.streaming
    assert all(isinstance(clip, InMemory) for clip in memory.clips)
    assert all(isinstance(clip, OnDisk) for clip in disk.clips)
    assert memory.seconds == disk.seconds
    for seed in range(3):
        kept, read = (c.batch(8, 8000, np.random.default_rng(seed)) for c in (memory, disk))
        assert kept.abs().max() > 0.1
        # a quiet crop is raised, and the rounding with it: hence not 2^-16
        torch.testing.assert_close(kept, read, atol=2e-3, rtol=0)
        assert (kept - read).square().mean().sqrt() < 1e-4


@pytest.mark.process
def test_a_file_that_fails_costs_a_warning_and_no_training(folder, tmp_path, caplog):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    bad, silent = [n for n in (f"bad_{i}.wav" for i in range(99)) if not held_out(n)][:2]
    (tmp_path / bad).write_bytes(b"RIFF and no more")
    sf.write(tmp_path / silent, np.zeros(8000), 16000)
    with caplog.at_level(logging.WARNING):
        corpus = Corpus([tmp_path])
    assert len(corpus.clips) == 10
    assert f"{bad}: left out" in caplog.text

    disk = Corpus([tmp_path], memory_limit=0)
    for path in tmp_path.iterdir():
        path.unlink()  # gone in mid-run
    message = r"6 of 6 crops could not be read, expected at most 5%; .*there is none"
    with pytest.raises(ValueError, match=message):
        disk.batch(4, 4000, np.random.default_rng(0))


UNKNOWN = next(n for n in (f"streamed_{i}.flac" for i in range(99)) if not held_out(n))


@pytest.mark.parametrize("limit", [2.0, 0.0], ids=["in memory", "on disk"])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.process
def test_a_flac_of_unknown_length_is_trained_on_as_it_is(folder, tmp_path, rate, limit):
    """Beside the others, each as often as it is long: no crop is silence."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    write_flac(tmp_path / UNKNOWN, 2 * rate, rate, total=0)
    corpus = Corpus([tmp_path], memory_limit=limit)
    assert len(corpus.clips) == 11
    assert max(len(clip) for clip in corpus.clips) == 32000
    assert corpus.seconds == pytest.approx(2 + Corpus([folder]).seconds)
    assert corpus.batch(32, 4000, np.random.default_rng(0)).abs().amax(dim=1).min() > 0.01


def test_without_ffmpeg_a_file_of_unknown_length_is_left_out_once(
    folder, tmp_path, monkeypatch, caplog
):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    write_flac(tmp_path / UNKNOWN, 32000, 16000, total=0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed
    data = Data.read([tmp_path])
    assert len(data.training.clips) == 10
    (text,) = [r.getMessage() for r in caplog.records if UNKNOWN in r.getMessage()]
    assert "left out" in text
    assert "of unknown length, libsndfile cannot read it; install ffmpeg" in text


def test_another_crop_is_drawn_where_one_cannot_be_read(tmp_path, caplog):
    names = [n for n in (f"{i}.wav" for i in range(99)) if not held_out(n)][:2]
    validation = next(n for n in (f"{i}.wav" for i in range(99)) if held_out(n))
    for name, seconds in zip([*names, validation], (99, 1, 1), strict=True):
        sf.write(tmp_path / name, np.tile([0.5, -0.5], seconds * 8000), 16000)
    corpus = Corpus([tmp_path], memory_limit=0)
    (tmp_path / names[1]).unlink()  # 1 % of the sound
    rng = np.random.default_rng(0)
    assert corpus.batch(400, 100, rng, NO_AUGMENTATION).abs().min() > 0.4  # silence would be 0
    assert 1 <= corpus.failed.total() <= 10
    assert corpus.drawn == 400 + corpus.failed.total()
    assert caplog.text.count("a crop cannot be read, others are drawn") == 1


@pytest.mark.filterwarnings("ignore:.*incomplete")
@pytest.mark.process
def test_a_header_that_promises_much_more_stops_the_training(folder, tmp_path):
    """Two seconds that are called forty: most crops of it lie where there is nothing."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    write_flac(tmp_path / UNKNOWN, 32000, 16000, total=640000)
    corpus = Corpus([tmp_path], memory_limit=0)
    with pytest.raises(ValueError, match=rf"crops could not be read.*convert to wav: {UNKNOWN}"):
        corpus.batch(99, 4000, np.random.default_rng(0))
    memory = Corpus([tmp_path])  # decoded, it is what it is
    assert memory.batch(32, 4000, np.random.default_rng(0)).abs().amax(dim=1).min() > 0.01


@pytest.mark.process
def test_what_only_ffmpeg_reads_is_trained_on(folder, tmp_path):
    for path in list(folder.iterdir())[:3]:
        target = tmp_path / f"{path.stem}.m4a"
        subprocess.run([find_ffmpeg(), "-v", "error", "-i", path, target], check=True)
    for limit in (2.0, 0.0):
        corpus = Corpus([tmp_path], memory_limit=limit)
        assert corpus.batch(2, 4000, np.random.default_rng(0)).abs().amax(dim=1).min() > 0.01


@pytest.mark.process
def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder with audio files"):
        Corpus([tmp_path])
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_text("no sound")
    with pytest.raises(ValueError, match="no file of the train part could be read"):
        Corpus([tmp_path])


# --- crops ----------------------------------------------------------------------------------------


def test_crops_are_bounded_repeatable_and_changed(folder):
    corpus = Corpus([folder])
    first, again = (corpus.batch(8, 4000, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.abs().max() <= 0.5 + 1e-6
    plain = corpus.batch(8, 4000, np.random.default_rng(5), NO_AUGMENTATION)
    for change in ("speed", "tilt", "peak", "mix", "gain"):
        only = Augmentation(
            **({"speed": 0, "tilt": 0, "peak": 0, "mix": 0, "gain": 0} | {change: 1})
        )
        changed = corpus.batch(8, 4000, np.random.default_rng(5), only)
        assert torch.isfinite(changed).all()
        assert not torch.equal(plain, changed), change
    long = corpus.batch(2, 40000, np.random.default_rng(0))  # longer than every file
    assert long.shape == (2, 40000)


def test_longer_files_are_drawn_more_often(tmp_path):
    names = [n for n in (f"{i}.wav" for i in range(99)) if not held_out(n)][:2]
    sf.write(tmp_path / names[0], np.tile([0.5, -0.5], 1500), 16000)
    sf.write(tmp_path / names[1], np.tile([0.5, 0.5, -0.5, -0.5], 2250), 16000)
    sf.write(tmp_path / next(f"{i}.wav" for i in range(99) if held_out(f"{i}.wav")), [0.5], 16000)
    corpus, rng = Corpus([tmp_path]), np.random.default_rng(0)
    drawn = corpus.batch(400, 100, rng, NO_AUGMENTATION)
    of_second = drawn[:, 0] * drawn[:, 2] < 0  # half a period later
    assert 260 < of_second.sum() < 340  # 300, four and a half deviations


def test_a_filter_is_as_high_as_drawn_and_keeps_the_rest():
    frequency = np.array([50.0, 1000.0, 7999.0])
    bell = bell_db(frequency, 1000.0, 0.5, -6.0)
    assert bell[1] == -6.0
    np.testing.assert_allclose(bell[[0, 2]], 0, atol=0.01)
    x, rng = make_sound(0.5), np.random.default_rng(0)
    assert colour(x, rng, NO_AUGMENTATION, 16000) is x
    tilted = colour(x, rng, Augmentation(tilt=1, peak=0, tilt_db=9.0), 16000)
    change = 20 * np.log10(np.abs(np.fft.rfft(tilted) / np.fft.rfft(x)))
    # linear in dB: 0 at 4 kHz, as much up at one end as down at the other
    assert abs(change[0] + change[-1]) < 0.01
    assert 0.1 < abs(change[-1] - change[0]) <= 9.0


def test_statistics_are_those_of_the_training_mels(folder):
    data = Data.read([folder])
    assert -9 < data.mean < -3
    assert 1 < data.deviation < 4


# --- batches by number ----------------------------------------------------------------------------


def test_batches_are_the_same_in_any_order_and_with_any_number_of_threads():
    def draw(rng):
        return rng.random(3)

    plain = [Batches(draw, seed=1)[step] for step in range(8)]
    ahead = Batches(draw, seed=1, workers=3)
    for step in (0, 1, 2, 6, 7, 3):
        np.testing.assert_array_equal(ahead[step], plain[step])
    ahead.close()
    different = [
        Batches(draw, seed=2)[0],
        Batches(draw, seed=1, process=1)[0],
        plain[1],
    ]
    assert not any(np.array_equal(plain[0], other) for other in different)
    seeds = {Batches(draw, seed, process).torch_seed(step)
             for seed in range(3) for process in range(2) for step in range(50)}  # fmt: skip
    assert len(seeds) == 300
