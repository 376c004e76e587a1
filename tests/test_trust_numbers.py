"""Numbers that can be trusted: nothing that is not finite passes a stage, and the same is the same.

"The same" is bit for bit: one seed, one machine, one number of threads, whatever else is computed
beside it. Where the libraries cannot promise that, the tolerance stands here with its reason.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_as_user

import vaerecon as vr
from vaerecon import autoencoder, metrics
from vaerecon.methods import METHODS
from vaerecon.pipeline import ReconstructionPipeline

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
import itertools, sys
import torch
sys.path.insert(0, sys.argv[1])
from conftest import make_sound
from vaerecon.metrics import METRICS
from vaerecon.pipeline import ReconstructionPipeline

SINGLE = ("vocoder", "griffinlim", "oracle_phase")  # one of each kind; all are pure functions
clip, threads = make_sound(1.2), torch.get_num_threads()
tiny = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
tiny.set_progress_bar_config(disable=True)
alone = {n: tiny(clip, [n], without_vae=False, exclude_metrics=METRICS).audio[n] for n in SINGLE}
others = [name for name in METRICS if name != "visqol"]
measured = tiny(clip, "all", without_vae=False, exclude_metrics=others)
assert measured.findings.methods["vocoder"].scores["visqol"] > 1
orders = {tuple(o): tiny(clip, o, without_vae=False, exclude_metrics=METRICS)
          for o in itertools.permutations(SINGLE)}
for order, together in {"all, with ViSQOL": measured, **orders}.items():
    for name in SINGLE:
        assert torch.equal(together.audio[name], alone[name]), (order, name)
assert torch.get_num_threads() == threads
"""


@pytest.mark.parametrize("name", [None, "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"])
def test_the_order_and_company_of_methods_change_no_bit(name):
    """Alone, in any order, and beside the others, in a new process: ViSQOL starts threads there."""
    done = run_as_user([sys.executable, "-c", ORDERS, Path(__file__).parent], name)
    assert done.returncode == 0, done.stderr


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
    originals = vr.samples.normalize_level(samples)[0]
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
