"""What users of torch and diffusers are used to do: it works, and it changes no result.

Whatever surrounds a call (autocast, another default dtype), the same bits come out; what comes out
is a plain tensor; the pipeline is saved, loaded, offloaded and rebuilt as diffusers' own are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from diffusers import AudioLDM2Pipeline
from helpers.checkpoints import VAE_FILE, save_small, small_network
from helpers.hub_server import serve
from helpers.system import LIMIT
from safetensors.torch import load_file

import vaerecon as vr
from vaerecon import methods, metrics
from vaerecon.audio.samples import normalize_level
from vaerecon.mel import filters
from vaerecon.mel import front_end as mel
from vaerecon.models import autoencoder
from vaerecon.models.vocoder import measure_lag, vocode
from vaerecon.phase import mel_inversion
from vaerecon.pipeline.pipeline import ReconstructionPipeline

CACHED = (mel.hann_window, filters.mel_filters, filters.bands)
CACHED += (mel_inversion.spread, mel_inversion._spread_bands)
QUICK = ("visqol", "pesq_wb")
METHODS = list(methods.METHODS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small checkpoint with a ``fast/`` of its own; not to be changed."""
    folder = save_small(tmp_path_factory.mktemp("models") / "mine")
    small_network().save_pretrained(folder / "fast")
    return folder


def load(folder: Path, **options) -> ReconstructionPipeline:
    pipe = ReconstructionPipeline.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(checkpoint) -> ReconstructionPipeline:
    return load(checkpoint)


@pytest.fixture(scope="module")
def log_mel(sound) -> torch.Tensor:
    """Of 0.3 s, ``[30, 64]``."""
    return vr.log_mel(sound[:4800])


def entrances(pipe, sound, log_mel) -> dict[str, torch.Tensor]:
    """What every public function gives that makes a tensor."""
    normalized = normalize_level(sound[:4800])[0]
    latent = pipe.encode(log_mel)
    found = {
        "log_mel": vr.log_mel(sound[:4800]),
        "magnitude": mel_inversion.mel_to_magnitude(log_mel),
        "mean": autoencoder.posterior(pipe.vae, log_mel)[0],
        "latent": latent,
        "draw": pipe.encode(log_mel, sample=True, generator=torch.Generator().manual_seed(1)),
        "decoded": pipe.decode(latent),
        "vocoded": vocode(pipe.vocoder, log_mel),
    }
    for name, method in methods.METHODS.items():
        needs = pipe._models().arguments(method)
        if "original" in method.needs:
            needs["original"] = normalized
        generator = torch.Generator().manual_seed(0)
        found[name] = method.function(log_mel, 4800, generator, **needs)
    return found


@pytest.fixture(scope="module")
def plain(pipe, sound, log_mel):
    return entrances(pipe, sound, log_mel)


ENTRANCES = ("log_mel", "magnitude", "mean", "latent", "draw", "decoded", "vocoded", *METHODS)


# --- what surrounds a call ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_changes_no_bit(pipe, sound, log_mel, plain, dtype):
    with torch.autocast("cpu", dtype):
        inside = entrances(pipe, sound, log_mel)
        lag = measure_lag(pipe.vocoder)
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == dtype  # and is as it was afterwards
    assert tuple(inside) == ENTRANCES
    for name, values in inside.items():
        assert torch.equal(values, plain[name]), name
    assert lag == pipe.lag


@pytest.mark.slow
def test_autocast_changes_no_result_of_the_pipeline_and_no_score(pipe, sound):
    results, scores = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(pipe(sound[:4800], METHODS, exclude_metrics=QUICK))
            reference, estimate = results[0].reference, results[0].audio["fast"]
            scores.append(dict(metrics.evaluate(reference, estimate, exclude=QUICK)))
    assert scores[0] == scores[1]
    for name in METHODS:
        assert torch.equal(results[0].audio[name], results[1].audio[name]), name
        assert dict(results[0].methods[name].scores) == dict(results[1].methods[name].scores)


def test_a_network_in_training_keeps_its_log_mel_in_float32_under_autocast(log_mel):
    """The signal arithmetic inside the model: what the mel alone gives must not be rounded."""
    network = small_network()
    with torch.no_grad():
        network.head.weight.zero_()  # leaves the smooth magnitude
        expected = network(log_mel[None])
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(network(log_mel[None]), expected)


@pytest.fixture
def float64_default():
    """As a program does that imports this one; what is cached is computed anew."""
    for function in CACHED:
        function.cache_clear()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    for function in CACHED:
        function.cache_clear()


def test_another_default_dtype_changes_no_bit(checkpoint, sound, log_mel, plain, float64_default):
    pipe = load(checkpoint)
    for name, values in entrances(pipe, sound, log_mel).items():
        assert values.dtype == torch.float32, name
        assert torch.equal(values, plain[name]), name


@pytest.mark.parametrize("method", ["vocoder", "griffinlim"])
@pytest.mark.slow
def test_nor_where_windows_are_joined(pipe, method, request):
    long = torch.randn(1700, 64, generator=torch.Generator().manual_seed(0)) - 6
    short = ReconstructionPipeline.from_pipe(pipe)
    short.chunk_seconds = 8.0
    expected = short.synthesize(long, method)
    request.getfixturevalue("float64_default")
    assert torch.equal(short.synthesize(long, method), expected)


# --- plain tensors --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_a_graph(pipe, sound, log_mel):
    return entrances(pipe, sound, log_mel.clone().requires_grad_())


@pytest.mark.parametrize("name", [n for n in ENTRANCES if n != "magnitude"])  # which has gradients
def test_results_are_plain_tensors_without_a_graph(from_a_graph, name):
    values = from_a_graph[name]
    assert not values.requires_grad
    assert not values.is_inference()
    kept = values.clone()
    values *= 0.5  # in place
    values.requires_grad_()
    factor = torch.nn.Parameter(torch.ones(()))
    (values * factor).square().sum().backward()  # in another network's backward pass
    torch.testing.assert_close(factor.grad, 2 * (0.5 * kept).square().sum())


@pytest.mark.slow
def test_a_changed_result_changes_no_later_one(pipe, sound):
    first = pipe(sound[:4800], METHODS, exclude_metrics=QUICK)
    kept = {name: samples.clone() for name, samples in first.audio.items()}
    for values in (first.reference, first.mel, first.latent, first.mel_decoded):
        values.zero_()
    for found in [*first.methods.values(), *first.without_vae.values()]:
        found.samples.fill_(9.0)
    again = pipe(sound[:4800], METHODS, exclude_metrics=QUICK)
    for name, samples in again.audio.items():
        assert torch.equal(samples, kept[name]), name


# --- diffusers ------------------------------------------------------------------------------------


def test_from_pipe_shares_the_models_and_keeps_fast_and_the_facts(pipe, log_mel):
    again = ReconstructionPipeline.from_pipe(pipe)
    assert again.vae is pipe.vae
    assert again.vocoder is pipe.vocoder
    assert again.describe() == pipe.describe()
    assert torch.equal(again.synthesize(log_mel, "fast"), pipe.synthesize(log_mel, "fast"))


def test_from_pipe_casts_only_when_asked(checkpoint):
    half = load(checkpoint, dtype=torch.float16)
    again = ReconstructionPipeline.from_pipe(half)
    assert again.vocoder.dtype == torch.float16
    again = ReconstructionPipeline.from_pipe(half, torch_dtype=torch.float32)
    assert again.vocoder.dtype == torch.float32


def test_from_pipe_takes_the_models_of_audioldm2_or_says_what_lacks(pipe, tiny, log_mel):
    names = ("text_encoder", "text_encoder_2", "projection_model", "language_model", "tokenizer",
             "tokenizer_2", "feature_extractor", "unet", "scheduler")  # fmt: skip
    other = AudioLDM2Pipeline(vae=pipe.vae, vocoder=pipe.vocoder, **dict.fromkeys(names))
    again = ReconstructionPipeline.from_pipe(other)
    assert torch.equal(again.synthesize(log_mel), pipe.synthesize(log_mel))
    assert again.describe().source == "memory"
    other = AudioLDM2Pipeline(vae=pipe.vae, vocoder=None, **dict.fromkeys(names))
    with pytest.raises(ValueError, match=r"got a AudioLDM2Pipeline without vocoder; pass vocoder"):
        ReconstructionPipeline.from_pipe(other)
    assert ReconstructionPipeline.from_pipe(other, vocoder=tiny.vocoder).vocoder is tiny.vocoder


@pytest.mark.parametrize("how", ["whole models", "layer by layer"])
def test_offloaded_models_give_the_same_bits(checkpoint, pipe, sound, log_mel, how):
    """To the CPU as the accelerator, which is as far as a machine without one goes."""
    other = load(checkpoint)
    if how == "whole models":
        other.enable_model_cpu_offload(device="cpu")
    else:  # enable_sequential_cpu_offload, but for its refusal of a CPU
        for model in other.components.values():
            accelerate.cpu_offload(model, torch.device("cpu"), offload_buffers=True)
        assert other.vae.device.type == "meta"  # where the weights are not
    results = [p(sound[:4800], ["vocoder", "fast"], exclude_metrics=QUICK) for p in (pipe, other)]
    for name, samples in results[0].audio.items():
        assert torch.equal(results[1].audio[name], samples), name
    assert results[1].model.device.startswith("cpu")
    assert torch.equal(other.synthesize(log_mel), pipe.synthesize(log_mel))
    assert torch.equal(other.decode(other.encode(log_mel)), pipe.decode(pipe.encode(log_mel)))


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "20KB"}], ids=["whole", "shards"])
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_what_save_pretrained_writes_loads_again(pipe, log_mel, tmp_path, options, variant):
    pipe.save_pretrained(tmp_path / "saved", variant=variant, **options)
    files = [path.name for path in (tmp_path / "saved/vae").glob("*.safetensors")]
    assert (len(files) > 1) == bool(options)
    assert all((".fp16" in name) == (variant == "fp16") for name in files)
    again = load(tmp_path / "saved", variant=variant)
    assert torch.equal(again.encode(log_mel), pipe.encode(log_mel))
    for method in ("vocoder", "fast"):
        assert torch.equal(again.synthesize(log_mel, method), pipe.synthesize(log_mel, method))
    assert not torch.equal(pipe.synthesize(log_mel, "fast"), bundled_fast(log_mel))
    again.save_pretrained(tmp_path / "saved", variant=variant, **options)  # onto itself
    again = load(tmp_path / "saved", variant=variant)
    assert torch.equal(again.synthesize(log_mel, "fast"), pipe.synthesize(log_mel, "fast"))


def bundled_fast(log_mel: torch.Tensor) -> torch.Tensor:
    n_samples = 160 * len(log_mel)
    return methods.METHODS["fast"].function(log_mel, n_samples, torch.Generator().manual_seed(0))


def test_only_a_variant_is_there_and_another_was_asked_for(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "half", variant="fp16")
    other = r"but the variant 'fp16'; load it with variant='fp16'"
    with pytest.raises(ValueError, match=rf"^half: has no {VAE_FILE}, {other}"):
        load(tmp_path / "half")
    with pytest.raises(ValueError, match=r"has no vae/diffusion_pytorch_model.bf16.safetensors"):
        load(tmp_path / "half", variant="bf16")


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("dtype", [torch.float16, "float16"], ids=str)
def test_both_names_of_the_dtype_and_both_spellings(checkpoint, name, dtype):
    pipe = load(checkpoint, use_safetensors=True, **{name: dtype})
    assert pipe.vocoder.dtype == torch.float16
    assert pipe.vae.dtype == torch.float32  # it says force_upcast


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "float32", "torch_dtype": torch.float16}, "got 'float32', but torch_dtype 'fl"),
        ({"torch_dtype": torch.int8}, "dtype: got 'int8', expected one of auto, float32"),
        ({"variant": "../fp16"}, r"variant: got '../fp16', expected a name such as 'fp16'"),
        ({"variant": "a/b"}, "variant: got 'a/b', expected a name"),
        ({"use_safetensors": False}, "use_safetensors: got False, but a pickle can run code"),
    ],
)
def test_options_that_cannot_be(checkpoint, options, reason):
    with pytest.raises(ValueError, match=reason):
        load(checkpoint, **options)


def test_a_foreign_fast_is_not_taken_for_the_saved_one(pipe, tiny, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"^saved: has a fast/, which this pipeline has not; remo"):
        tiny.save_pretrained(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").vae.decoder.conv_in.weight,
                       pipe.vae.decoder.conv_in.weight)  # fmt: skip


LOADER = """
import json, sys
import torch
from diffusers import DiffusionPipeline

found = {}
for name, options in json.loads(sys.argv[2]).items():
    try:
        pipe = DiffusionPipeline.from_pretrained(sys.argv[1], **options)
    except (ValueError, AttributeError) as error:
        found[name] = str(error)
    else:
        pipe.set_progress_bar_config(disable=True)
        mel = torch.full((20, 64), -5.0)
        found[name] = [float(pipe.synthesize(mel, m).sum()) for m in ("vocoder", "fast")]
print(json.dumps(found))
"""


PUSHER = """
from vaerecon.pipeline.pipeline import ReconstructionPipeline

for name in ("someone/pushed", "someone/saved"):
    pipe = ReconstructionPipeline.from_pretrained(sys.argv[1])
    if name == "someone/pushed":
        pipe.push_to_hub(name, token="hf_x")
    else:
        pipe.save_pretrained(sys.argv[3], push_to_hub=True, repo_id=name, token="hf_x")
    again = ReconstructionPipeline.from_pretrained(name, token="hf_x")
    assert again.fast_folder is not None, "no fast/"
"""


@pytest.fixture(scope="module")
def new_process(pipe, tmp_path_factory):
    """One that loads by diffusers' own loader, which keeps code in a cache, and pushes to a hub."""
    root = tmp_path_factory.mktemp("new process")
    pipe.save_pretrained(root / "saved")
    trust = {"trust_remote_code": True}
    cases = {
        "plain": {},
        "trusted": trust,
        "custom folder": trust | {"custom_pipeline": str(root / "saved")},
        "custom file": trust | {"custom_pipeline": sys.modules[type(pipe).__module__].__file__},
    }
    paths = root / "saved", json.dumps(cases), root / "saved again"
    with serve() as hub:
        hub.uploads = root / "uploads"
        hub.tokens.update({"someone/pushed": "hf_x", "someone/saved": "hf_x"})
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(root / "home"),
            "HF_MODULES_CACHE": str(root / "modules"),
        }
        done = subprocess.run([sys.executable, "-c", LOADER + PUSHER, *map(str, paths)],
                              env=os.environ | variables, capture_output=True, text=True,
                              timeout=LIMIT)  # fmt: skip
    return done, hub.uploads


@pytest.mark.process
def test_diffusers_own_loader_works_or_says_what_does(pipe, new_process):
    """With the trust that it asks for."""
    done, _ = new_process
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert "Pass `trust_remote_code=True`" in found.pop("plain")
    mel = torch.full((20, 64), -5.0)
    expected = [float(pipe.synthesize(mel, m).sum()) for m in ("vocoder", "fast")]
    assert found == dict.fromkeys(("trusted", "custom folder", "custom file"), expected)


def test_diffusers_own_loader_from_a_hub_says_what_fetches_fast(pipe, log_mel):
    again = ReconstructionPipeline(pipe.vae, pipe.vocoder)
    again.register_to_config(_name_or_path="someone/model")  # as that loader does
    assert torch.equal(again.synthesize(log_mel), pipe.synthesize(log_mel))
    with pytest.raises(ValueError, match=r"ReconstructionPipeline.from_pretrained\('someone/model"):
        again.synthesize(log_mel, "fast")


@pytest.mark.process
def test_what_is_pushed_has_fast_and_loads_from_the_hub(checkpoint, new_process):
    """By ``push_to_hub`` and by ``save_pretrained``."""
    done, uploads = new_process
    assert done.returncode == 0, done.stderr
    for pushed in (uploads / "someone/pushed", uploads / "someone/saved"):
        for file in checkpoint.rglob("*.safetensors"):
            sent, kept = load_file(pushed / file.relative_to(checkpoint)), load_file(file)
            assert sent.keys() == kept.keys()
            assert all(torch.equal(sent[name], kept[name]) for name in kept)
