"""Numbers that can be trusted: nothing that is not finite passes a stage, and the same is the same.

"The same" is bit for bit: one seed, one machine, one number of threads, whatever else is computed
beside it. Where the libraries cannot promise that, the tolerance stands here with its reason.
"""

from __future__ import annotations

import copy
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.sounds import make_sound
from helpers.system import run_as_user

import vaerecon as vr
from vaerecon import metrics
from vaerecon.lab.listening.levels import match_levels
from vaerecon.lab.nb01_mel_analysis.plots import plot_waveform
from vaerecon.methods import METHODS
from vaerecon.models import autoencoder
from vaerecon.pipeline.pipeline import ReconstructionPipeline

SLOW = [name for name in metrics.METRICS if name not in ("snr_db", "log_mel_mae")]
BAD = [float("nan"), float("inf"), float("-inf")]


@pytest.fixture(scope="module")
def mels(sound) -> torch.Tensor:
    """Three stretches of a sound, ``[3, 48, 64]``."""
    return torch.stack([vr.log_mel(sound[i : i + 48 * 160]) for i in (0, 3000, 6000)])


def spoilt(pipe: ReconstructionPipeline, weight: str, value: float) -> ReconstructionPipeline:
    """The pipeline with one number of one weight replaced."""
    part, name = weight.split("/")
    model = copy.deepcopy(getattr(pipe, part))
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = value
    other = ReconstructionPipeline(**{"vae": pipe.vae, "vocoder": pipe.vocoder} | {part: model})
    other.set_progress_bar_config(disable=True)
    return other


# --- nothing passes -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ("vae/encoder.conv_in.bias", "VAE encoder: got NaN or infinite values.*weights intact"),
        ("vae/decoder.conv_in.bias", "VAE decoder: got NaN or infinite values.*weights intact"),
        ("vocoder/conv_pre.bias", "vocoder: gave NaN or infinite samples; are its weights intact"),
    ],
)
def test_a_weight_that_is_not_finite_is_met_at_its_stage(tiny, sound, weight, said, value):
    with pytest.raises(ValueError, match=f"^{said}"):
        spoilt(tiny, weight, value)(sound[:4000], ["vocoder"], exclude_metrics=SLOW)


@pytest.mark.parametrize("part", ["vae", "vocoder"])
def test_overflow_in_float16_is_named_with_what_to_do(tiny, sound, part):
    """A weight that float32 holds and float16 does not: infinite after the cast."""
    weight = {"vae": "vae/encoder.conv_in.bias", "vocoder": "vocoder/conv_pre.bias"}[part]
    pipe = spoilt(tiny, weight, 1e6)
    setattr(pipe, part, getattr(pipe, part).half())
    with pytest.raises(ValueError, match=r"float16 overflowed: load with dtype='float32' or 'bf"):
        pipe(sound[:4000], ["vocoder"], exclude_metrics=SLOW)


@pytest.mark.parametrize("value", BAD)
def test_every_entrance_refuses_what_is_not_finite(tiny, mels, sound, value):
    samples, mel, latent = torch.tensor(sound[:4000]), mels[0].clone(), tiny.encode(mels[0]).clone()
    samples[7] = mel[3, 5] = latent[1, 2, 3] = value
    entrances = {
        "log_mel": lambda: vr.log_mel(samples),
        "pipeline": lambda: tiny(samples, ["silence"], exclude_metrics=SLOW),
        "clip": lambda: vr.Clip.from_samples(samples, 16000),
        "encode": lambda: tiny.encode(mel),
        "decode": lambda: tiny.decode(latent),
        "evaluate": lambda: metrics.evaluate(samples, torch.tensor(sound[:4000]), 16000),
        "evaluate, estimate": lambda: metrics.evaluate(torch.tensor(sound[:4000]), samples, 16000),
    } | {
        method: lambda method=method: tiny.synthesize(mel, method, original=sound[: 48 * 160])
        for method, entry in METHODS.items()
        if entry.uses_mel
    }
    passed = []
    for name, call in entrances.items():
        try:
            call()
        except ValueError as error:
            said = str(error)
            said = said.partition(" ")[0]
            assert said in ("samples:", "log-mel:", "latent:", "reference:", "estimate:"), name
        else:
            passed.append(name)
    assert passed == []


def entrances(tiny, tmp_path) -> dict:
    """Every function that takes samples of a user, as a function of them to what it makes."""
    floats = make_sound(0.25)
    mel = vr.log_mel(floats)
    quick = {"exclude_metrics": SLOW, "without_vae": False}

    def written(samples):
        vr.write_wav(tmp_path / "x.wav", samples)
        return vr.load_audio(tmp_path / "x.wav").samples

    return {
        "log_mel": lambda x: vr.log_mel(x, normalize=False),
        "batch": lambda x: vr.log_mel(x[None], normalize=False),
        "naive_log_mel": vr.mel.naive_log_mel,
        "normalize_level": lambda x: vr.audio.normalize_level(x)[1].gain,
        "pipeline": lambda x: tiny(x, ["griffinlim"], **quick).audio["griffinlim"],
        "original": lambda x: tiny.synthesize(mel, "oracle_phase", original=x),
        "refine": lambda x: vr.phase.refine(x, mel, n_iter=1),
        "clip": lambda x: vr.Clip.from_samples(x, 16000).samples,
        "write_wav": written,
        "reference": lambda x: metrics.evaluate(x, 0.9 * floats, metrics=["rmse"])["rmse"],
        "estimate": lambda x: metrics.evaluate(0.9 * floats, x, metrics=["rmse"])["rmse"],
        "one metric": lambda x: metrics.rmse(0.9 * floats, x),
        "player": lambda x: match_levels({"x": x}, level_match=False).tracks[0].samples,
        "plot": lambda x: plot_waveform(x)[1].lines[0].get_ydata(),
    }


@pytest.mark.parametrize("kind", ["int16", "int32", ">i2"])
@pytest.mark.parametrize("torch_too", [False, True], ids=["numpy", "torch"])
def test_every_entrance_scales_integers(tiny, tmp_path, kind, torch_too):
    """Full scale is 2**15 or 2**31, as in files: bit for bit what the same floats give."""
    scale = 2.0 ** (8 * np.dtype(kind).itemsize - 1)
    integers = np.round(make_sound(0.25) * scale).astype(kind)
    floats = (integers / scale).astype(np.float32)
    if torch_too:
        integers = torch.from_numpy(integers.astype(integers.dtype.newbyteorder("=")))
    for name, call in entrances(tiny, tmp_path).items():
        assert np.array_equal(np.asarray(call(integers)), np.asarray(call(floats))), name


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int64", "bool", "complex64"])
def test_every_entrance_refuses_other_numbers_with_what_to_do(tiny, tmp_path, kind):
    x = np.round(100 * make_sound(0.25)).astype(kind)
    for name, call in entrances(tiny, tmp_path).items():
        for given in (x, torch.from_numpy(x)):
            with pytest.raises(ValueError, match=rf"got \w+ .*{kind} val.*int16, int32.*convert"):
                call(given)
                pytest.fail(f"{name} takes {kind}")


@pytest.mark.parametrize(
    ("thing", "fix"),
    [
        ("song.wav", r"vaerecon.load_audio\(path\)"),
        (Path("song.wav"), r"vaerecon.load_audio\(path\)"),
        (io.BytesIO(b"RIFF"), r"vaerecon.load_audio\(path\)"),
        (b"RIFF", r"vaerecon.load_audio\(path\)"),
        ({"array": [0.0], "sampling_rate": 16000}, r"Clip.from_samples\(samples, sample_rate\)"),
        ({"audio": {"array": [0.0]}}, r"Clip.from_samples\(samples, sample_rate\)"),
        ((np.zeros(9), 16000), r"Clip.from_samples\(samples, sample_rate\)"),
        ((16000, np.zeros(9)), r"Clip.from_samples\(samples, sample_rate\)"),
        (vr.Clip(np.zeros(9, np.float32)), "use its .samples"),
        (None, "convert them"),
        ([[0.0], [0.0, 1.0]], "convert them"),
    ],
)
def test_what_is_no_array_is_refused_with_what_to_call(tiny, tmp_path, thing, fix):
    """In one line; the pipeline takes what is one sound without doubt (the next test)."""
    for name, call in entrances(tiny, tmp_path).items():
        if name not in ("batch", "pipeline") and (thing is not None or name != "original"):
            with pytest.raises(ValueError, match=rf"^[^\n]*samples: got \w+.*; .*{fix}[^\n]*$"):
                call(thing)
                pytest.fail(f"{name} takes {thing!r}")


def test_the_pipeline_takes_what_is_one_sound_without_doubt(tiny, tmp_path):
    """A path, an item of a data set, what librosa.load gives; at their rates, as files are."""
    x = make_sound(0.25)
    sf.write(tmp_path / "song.wav", x, 22050, subtype="FLOAT")
    path = tmp_path / "song.wav"
    expected = vr.load_audio(path).samples

    def through(thing) -> np.ndarray:
        result = tiny(thing, ["silence"], without_vae=False, exclude_metrics=SLOW)
        return result.clip.sha256

    whole = through(expected)
    for thing in (
        str(path),
        path,
        vr.load_audio(path),
        {"path": "song.wav", "array": x, "sampling_rate": 22050},
        (x, 22050),
        (torch.tensor(x), np.int64(22050)),
    ):
        assert through(thing) == whole
    assert tiny(path, ["silence"], exclude_metrics=SLOW).clip.name == "song"
    for thing in ((22050, x), {"audio": {"array": x}}, open(path, "rb"), (x, x)):  # noqa: SIM115
        with pytest.raises(ValueError, match=r"Clip.from_samples|load_audio"):
            tiny(thing)


def test_a_method_that_gives_nan_is_named(tiny, mels, monkeypatch):
    def broken(log_mel, n_samples, generator):
        return torch.full((n_samples,), float("nan"))

    entry = METHODS["silence"]
    monkeypatch.setitem(METHODS, "silence", type(entry)("silence", "x", "x", broken))
    with pytest.raises(
        ValueError, match=r"^silence: got NaN or infinite samples from a finite.*at fault"
    ):
        tiny.synthesize(mels[0], "silence")


# --- the same is the same -------------------------------------------------------------------------

ORDERS = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from helpers.sounds import make_sound
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline

SINGLE = ["vocoder", "griffinlim", "oracle_phase"]  # one of each kind; all are pure functions
quick = {"without_vae": False, "exclude_metrics": METRICS}
short, long, threads = make_sound(0.4), make_sound(1.2), torch.get_num_threads()
tiny = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
tiny.set_progress_bar_config(disable=True)
alone = {n: tiny(short, [n], **quick).audio[n] for n in SINGLE}
unmeasured = tiny(long, ["griffinlim"], **quick)
others = [name for name in METRICS if name != "visqol"]
measured = tiny(long, ["vocoder", "griffinlim"], without_vae=False, exclude_metrics=others)
assert measured.methods["vocoder"].scores["visqol"] > 1
assert torch.equal(measured.audio["griffinlim"], unmeasured.audio["griffinlim"])
together = {"all": tiny(short, "all", **quick)}
for i in range(3):  # any two of them both ways round
    together[i] = tiny(short, SINGLE[i:] + SINGLE[:i], **quick)
for order, result in together.items():
    for name in SINGLE:
        assert torch.equal(result.audio[name], alone[name]), (order, name)
assert torch.get_num_threads() == threads
"""


@pytest.mark.needs("visqol")
@pytest.mark.parametrize("name", [None, "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"])
@pytest.mark.process
def test_the_order_and_company_of_methods_change_no_bit(name):
    """Alone, in any order, and beside the others, in a new process: ViSQOL starts threads there."""
    done = run_as_user([sys.executable, "-c", ORDERS, Path(__file__).parents[1]], name)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_global_random_state_changes_no_bit(tiny, sound):
    outcomes = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (what other code may have done)
        outcomes.append(tiny(sound[:4800], "all", sample=True, seed=5, exclude_metrics=SLOW))
    first, second = outcomes
    assert torch.equal(first.latent, second.latent)
    for name, samples in first.audio.items():
        assert torch.equal(samples, second.audio[name]), name


def stages(tiny, mels, sound) -> dict:
    """Each stage as a function of a batch ``[B, ...]``, with the batch."""
    samples = torch.stack([torch.tensor(sound[i : i + 48 * 160]) for i in (0, 3000, 6000)])
    originals = vr.audio.normalize_level(samples)[0]
    synthesis = {
        name: (lambda mel, original, name=name: tiny.synthesize(mel, name, original=original))
        for name in METHODS
    }
    return {
        "log_mel": (lambda x: vr.log_mel(x), [samples]),
        "encode": (lambda x: tiny.encode(x), [mels]),
        "decode": (lambda x: tiny.decode(x), [tiny.encode(mels)]),
    } | {name: (call, [mels, originals]) for name, call in synthesis.items()}


@pytest.mark.parametrize("stage", ["log_mel", "encode", "decode", *METHODS])
@pytest.mark.slow
def test_a_batch_gives_what_its_clips_give_alone(tiny, mels, sound, stage):
    call, inputs = stages(tiny, mels, sound)[stage]
    together = call(*inputs)
    assert torch.equal(call(*inputs), together)  # a repetition is bit-equal
    for i in range(len(inputs[0])):
        alone = call(*(x[i] for x in inputs))
        of_one = call(*(x[i : i + 1] for x in inputs))[0]
        assert torch.equal(alone, of_one)  # a batch of one is the clip itself
        assert torch.equal(together[i], alone), i


def test_the_company_in_a_batch_of_one_size_changes_no_bit(tiny, mels):
    """What stands beside a clip never leaks into it: only the batch's size decides the blocks."""
    others = torch.stack([mels[0], mels[2] - 3.0, mels[1] * 0.5])
    for call in (tiny.encode, tiny.synthesize):
        assert torch.equal(call(mels)[0], call(others)[0])
    assert torch.equal(
        autoencoder.decode(tiny.vae, tiny.encode(mels))[0],
        autoencoder.decode(tiny.vae, tiny.encode(others))[0],
    )
