"""Where models come from: folders that fit or do not, and a hub, through the real client.

The hub tests run the client in a process of its own, because it reads ``HF_ENDPOINT`` and
``HF_HOME`` when it is imported: users set them the same way.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from helpers.checkpoints import (
    VAE_FILE,
    VOCODER_FILE,
    Canary,
    edit_config,
    edit_weights,
    run_client,
    run_warm_clients,
    save_small,
)
from helpers.hub_server import serve
from safetensors.torch import load_file
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from vaerecon.models import sources
from vaerecon.models.autoencoder import decode, encode
from vaerecon.models.checkpoints import Checkpoint, load
from vaerecon.models.fast_vocoder import MagnitudeNetwork
from vaerecon.models.sources import VARIANTS, check_source
from vaerecon.models.vocoder import vocode

WANTED = {"vae/config.json", "vocoder/config.json", VAE_FILE, VOCODER_FILE}
UNWANTED = [  # the rest of an AudioLDM2 repository, pickled duplicates of the wanted parts too
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "language_model/config.json",
    "language_model/model.safetensors",
    "language_model/pytorch_model.bin",
    "model_index.json",
    "projection_model/config.json",
    "projection_model/diffusion_pytorch_model.bin",
    "projection_model/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "text_encoder_2/pytorch_model.bin",
    "tokenizer/tokenizer.json",
    "tokenizer_2/spiece.model",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.bin",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vocoder/model.fp16.safetensors",
    "vocoder/pytorch_model.bin",
]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A small checkpoint; not to be changed."""
    return save_small(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(original, tmp_path / "mine"))


# --- folders ---------------------------------------------------------------------------------


def test_folder_loads(original):
    loaded = load(original)
    assert isinstance(loaded, Checkpoint)
    assert (loaded.variant, loaded.source, loaded.revision) == ("custom", "small", None)
    assert (loaded.dtype, loaded.device, loaded.licence) == ("float32", "cpu", None)
    assert not loaded.vae.training
    assert not loaded.vocoder.training
    for part, file in ((loaded.vae, VAE_FILE), (loaded.vocoder, VOCODER_FILE)):
        stored = load_file(original / file)
        for name, tensor in part.state_dict().items():
            assert torch.equal(tensor, stored[name])


def test_folder_that_was_saved_again_has_no_path_in_it(original, tmp_path):
    loaded = load(original)
    loaded.vae.save_pretrained(tmp_path / "again/vae")
    loaded.vocoder.save_pretrained(tmp_path / "again/vocoder")
    for config in (tmp_path / "again").rglob("config.json"):
        assert str(original.parent) not in config.read_text()
    load(tmp_path / "again")


def test_audioldm1_loads(folder):
    """AudioLDM 1 was saved in early 2023: old attention names, old model type, pickles beside."""
    new = load_file(folder / VAE_FILE)
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name):
        for after, before in old_names.items() if ".attentions." in name else ():
            name = name.replace(f".{after}.", f".{before}.")
        return name

    edit_weights(folder / VAE_FILE, lambda weights: {rename(n): w for n, w in weights.items()})
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in load_file(folder / VAE_FILE)
    edit_config(folder / "vocoder/config.json", model_type="hifigan")
    for name in UNWANTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not to be read")
    for name, tensor in load(folder).vae.state_dict().items():
        assert torch.equal(tensor, new[name])


def test_unused_statistics_of_the_vocoder_may_be_missing(folder):
    def drop(weights):
        return {n: w for n, w in weights.items() if n not in ("mean", "scale")}

    edit_weights(folder / VOCODER_FILE, drop)
    assert load(folder).vocoder.mean.eq(0).all()
    edit_config(folder / "vocoder/config.json", normalize_before=True)  # now they are used
    with pytest.raises(ValueError, match=r"vocoder/model.*2 of .* missing.*first mean"):
        load(folder)


def test_float16_weights_load_to_float32(folder, original):
    for file in (VAE_FILE, VOCODER_FILE):
        edit_weights(folder / file, lambda weights: {n: w.half() for n, w in weights.items()})
    loaded = load(folder)
    for part, file in ((loaded.vae, VAE_FILE), (loaded.vocoder, VOCODER_FILE)):
        stored = load_file(original / file)
        for name, tensor in part.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, stored[name].half().float())


@pytest.mark.parametrize(
    ("vae", "vocoder", "reason"),
    [
        ({"in_channels": 3, "out_channels": 3}, {}, "vae in_channels is 3, expected 1"),
        ({}, {"model_in_dim": 80}, "vocoder model_in_dim is 80, expected 64"),
        ({}, {"sampling_rate": 22050}, "vocoder sampling_rate is 22050, expected 16000"),
        ({}, {"upsample_rates": [8, 4, 2, 2, 2]}, "upsample_rates is 256, expected 160"),
    ],
)
def test_misfit_is_refused_before_weights_are_looked_at(tmp_path, vae, vocoder, reason):
    save_small(tmp_path, vae, vocoder)
    (tmp_path / VAE_FILE).unlink()
    (tmp_path / VOCODER_FILE).unlink()
    with pytest.raises(ValueError, match=reason):
        load(tmp_path)


@pytest.mark.parametrize(
    ("part", "changes", "reason"),
    [
        ("vae", {"layers_per_block": 10**9}, "layers_per_block is 1000000000, expected"),
        ("vae", {"block_out_channels": [16384] * 3}, "parameters, expected at most"),
        ("vae", {"block_out_channels": [8] * 1000}, "block_out_channels is"),
        ("vae", {"block_out_channels": [8, "16", 16]}, "block_out_channels is"),
        ("vae", {"norm_num_groups": 5}, "vae/config.json describes no model"),
        ("vae", {"_class_name": "VQModel"}, "class 'VQModel', expected 'AutoencoderKL'"),
        ("vocoder", {"upsample_initial_channel": 16384}, "parameters, expected at most"),
        ("vocoder", {"upsample_rates": 160}, "upsample_rates is 160, expected"),
        ("vocoder", {"upsample_rates": [10, 16, 0, 1, 1]}, "upsample_rates is"),
        ("vocoder", {"resblock_dilation_sizes": "no"}, "resblock_dilation_sizes is no, expected"),
        ("vocoder", {"leaky_relu_slope": "no"}, "vocoder/config.json describes no model"),
        ("vocoder", {"architectures": ["Wav2Vec2"]}, "class 'Wav2Vec2', expected"),
    ],
)
def test_other_and_absurd_configs_are_refused(folder, part, changes, reason):
    edit_config(folder / part / "config.json", **changes)
    with pytest.raises(ValueError, match=reason):
        load(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{" + " " * 1_000_000 + "}", "\udcff"])
def test_damaged_config_is_refused(folder, text):
    (folder / "vae/config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"^mine: vae/config.json: "):
        load(folder)


@pytest.mark.parametrize(
    ("weights", "pickled"),
    [(VAE_FILE, "vae/diffusion_pytorch_model.bin"), (VOCODER_FILE, "vocoder/pytorch_model.bin")],
)
def test_pickle_is_refused_and_not_opened(folder, tmp_path, weights, pickled):
    canary = tmp_path / "canary"
    (folder / weights).unlink()
    (folder / pickled).write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(ValueError, match=r"a pickle can run code.*safe_serialization"):
        load(folder)
    assert not canary.exists()
    pickle.loads((folder / pickled).read_bytes())  # noqa: S301 - the canary works
    assert canary.exists()


def test_no_weights_at_all(folder):
    (folder / VAE_FILE).unlink()
    with pytest.raises(ValueError, match=f"^mine: has no {VAE_FILE}$"):
        load(folder)


@pytest.mark.parametrize("file", [VAE_FILE, VOCODER_FILE])
@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(folder, file, keep):
    (folder / file).write_bytes((folder / file).read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"^mine: {file}: is truncated or no safetensors"):
        load(folder)


@pytest.mark.parametrize(
    ("file", "name"),
    [(VAE_FILE, "decoder.conv_out.weight"), (VOCODER_FILE, "upsampler.2.bias")],
)
def test_missing_weight_and_wrong_shape_are_errors(folder, original, file, name):
    edit_weights(folder / file, lambda weights: {n: w for n, w in weights.items() if n != name})
    with pytest.raises(ValueError, match=f"{file}: 1 of .* first {name}: got none"):
        load(folder)
    shutil.copy(original / file, folder / file)
    edit_weights(folder / file, lambda weights: weights | {name: torch.zeros(3, 1)})
    with pytest.raises(ValueError, match=rf"{file}: 1 of .* first {name}: got \[3, 1\]"):
        load(folder)


@pytest.mark.parametrize(
    ("normalize", "name"),
    [
        (torch.nn.utils.weight_norm, "upsampler.0.weight_g"),
        (
            torch.nn.utils.parametrizations.weight_norm,
            "upsampler.0.parametrizations.weight.original0",
        ),
    ],
    ids=["older", "newer"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
def test_a_vocoder_with_weight_normalisation_loads(folder, original, normalize, name):
    """As it is in training, in both spellings; transformers itself would draw such weights anew."""
    vocoder = load(original).vocoder
    for layer in list(vocoder.modules()):
        if isinstance(layer, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            normalize(layer)
    vocoder.save_pretrained(folder / "vocoder")
    assert name in load_file(folder / VOCODER_FILE)
    edit_weights(folder / VOCODER_FILE, lambda weights: weights | {name: 2 * weights[name]})
    weights, plain = load(folder).vocoder.state_dict(), load_file(original / VOCODER_FILE)
    for weight, tensor in weights.items():
        factor = 2.0 if weight == "upsampler.0.weight" else 1.0
        torch.testing.assert_close(tensor, factor * plain[weight])


@pytest.mark.parametrize(
    "change",
    [
        {"conv_pre.weight_g": torch.ones(32, 1, 1)},  # and no weight_v
        {"conv_pre.weight_v": torch.ones(32, 64, 7)},
        {"conv_pre.weight_g": torch.ones(1, 1, 7), "conv_pre.weight_v": torch.ones(32, 64, 7)},
        {"conv_pre.weight_g": torch.ones(8, 1, 1), "conv_pre.weight_v": torch.ones(8, 64, 7)},
    ],
    ids=["no direction", "no length", "another axis", "another width"],
)
def test_half_a_weight_normalisation_is_an_error(folder, change):
    def spoil(weights):
        return {n: w for n, w in weights.items() if n != "conv_pre.weight"} | change

    edit_weights(folder / VOCODER_FILE, spoil)
    with pytest.raises(ValueError, match=f"{VOCODER_FILE}: 1 of .* first conv_pre.weight: got"):
        load(folder)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("file", [VAE_FILE, VOCODER_FILE])
def test_weights_of_a_wrapped_model_load(folder, original, file, prefix):
    """As saved from inside torch.compile, DataParallel, or both."""
    edit_weights(folder / file, lambda weights: {prefix + n: w for n, w in weights.items()})
    loaded = getattr(load(folder), file.split("/")[0]).state_dict()
    for name, weight in load_file(original / file).items():
        assert torch.equal(loaded[name], weight)


def test_weights_under_two_names_are_refused(folder):
    edit_weights(
        folder / VAE_FILE, lambda w: w | {f"module.{n}": 2 * t for n, t in list(w.items())[:1]}
    )
    with pytest.raises(ValueError, match=f"^mine: {VAE_FILE}: has weights under two names each"):
        load(folder)


def test_unknown_weights_are_said(folder, caplog):
    edit_weights(folder / VAE_FILE, lambda weights: weights | {"extra": torch.zeros(1)})
    load(folder)
    assert "ignored unknown weights: extra" in caplog.text


def test_loading_is_quiet_and_leaves_the_libraries_as_they_were(folder, capfd):
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    before = [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]
    load(folder)
    assert capfd.readouterr() == ("", "")
    assert [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries] == before


# --- what a source means ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("tinny", "did you mean 'tiny'"),
        ("MUSIC", "did you mean 'music'"),
        ("xyz", "expected a variant \\(tiny, music, speech, large\\)"),
        ("./tiny", "an existing folder"),
        ("a/b/c", "hub id 'owner/name'"),
        ("https://huggingface.co/cvssp/audioldm2", "expected its hub id: cvssp/audioldm2$"),
        ("https://hf-mirror.com/a/b/tree/main", "expected its hub id: a/b$"),
        ("huggingface.co/a/b-c_1.0/", "expected its hub id: a/b-c_1.0$"),
        ("", "expected a variant"),
    ],
)
def test_unknown_sources(source, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for check in (load, check_source):
        with pytest.raises(ValueError, match=reason):
            check(source)


def test_folder_wins_over_hub_id_and_variant_over_folder(original, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(original, tmp_path / "someone/model")
    assert load("someone/model").source == "model"  # no request: it would fail
    (tmp_path / "tiny").mkdir()
    check_source("tiny")  # the bundled one
    with pytest.raises(ValueError, match=r"^tiny: has no vae/config.json and no vocoder/config"):
        check_source("./tiny")
    check_source("some-one/model_1.0")  # could be on a hub: nothing is asked for


def test_revision_of_a_folder_is_refused(original):
    with pytest.raises(ValueError, match="revision: got 'main' for a folder"):
        load(original, revision="main")


def test_tiny_is_bundled():
    loaded = load("tiny")
    assert (loaded.variant, loaded.source, loaded.licence) == ("tiny", "tiny", "apache-2.0")
    assert encode(loaded.vae, torch.full((20, 64), -5.0)).shape == (8, 5, 16)


def test_variants_say_their_licence():
    assert list(VARIANTS) == ["tiny", "music", "speech", "large"]
    assert VARIANTS["large"].source == "cvssp/audioldm2-large"
    for name in ("music", "speech", "large"):
        assert VARIANTS[name].licence == "cc-by-nc-sa-4.0"


# --- dtype and device ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("force_upcast", "dtype", "vae_dtype"),
    [
        (True, "auto", torch.float32),
        (True, "bfloat16", torch.bfloat16),
        (True, "float16", torch.float32),
        (False, "float16", torch.float16),
    ],
)
def test_dtypes(folder, force_upcast, dtype, vae_dtype):
    edit_config(folder / "vae/config.json", force_upcast=force_upcast)
    loaded = load(folder, dtype=dtype)
    expected = "float32" if dtype == "auto" else dtype
    assert loaded.dtype == expected
    assert {p.dtype for p in loaded.vocoder.parameters()} == {getattr(torch, expected)}
    assert {p.dtype for p in loaded.vae.parameters()} == {vae_dtype}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "int8"}, "dtype: got 'int8', expected one of auto, float32, float16, bfloat16"),
        ({"device": "tpu"}, "device: got 'tpu', expected 'cpu'"),
        ({"device": "cuda:x"}, "device: got 'cuda:x', expected 'cpu'"),
        ({"device": "cuda:99"}, "device: got 'cuda:99'.*use device='cpu'"),
    ],
)
def test_unknown_dtype_and_device(original, options, reason):
    with pytest.raises(ValueError, match=reason):
        load(original, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_cuda_without_cuda(original):
    with pytest.raises(ValueError, match=r"device: got 'cuda', but torch .* sees 0 CUDA devices"):
        load(original, device="cuda")
    assert load(original, device=None).device in ("cpu", "mps")


def test_audioldm2_s_true_architecture_loads(folder):
    """Weights that are zero, in files with holes: nothing is written but their headers."""
    vae = {"block_out_channels": [128, 256, 512], "layers_per_block": 2, "norm_num_groups": 32}
    edit_config(folder / "vae/config.json", **vae, sample_size=1024, scaling_factor=0.4110)
    edit_config(folder / "vocoder/config.json", upsample_initial_channel=1024, model_type="hifigan")
    with torch.device("meta"):
        models = (
            AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")),
            SpeechT5HifiGan(SpeechT5HifiGanConfig.from_pretrained(folder / "vocoder")),
        )
    for model, file in zip(models, (VAE_FILE, VOCODER_FILE), strict=True):
        save_zeros(folder / file, model.state_dict())
    loaded = load(folder)
    parts = (loaded.vae, loaded.vocoder)
    numbers = [sum(p.numel() for p in model.parameters()) for model in parts]
    assert numbers == [55_376_873, 55_264_897]
    mel = torch.full((1, 16, 64), -5.0)
    latent = encode(loaded.vae, mel)
    assert latent.shape == (1, 8, 4, 16)
    assert decode(loaded.vae, latent).shape == (1, 16, 64)
    assert vocode(loaded.vocoder, mel).shape == (1, 16 * 160)


def save_zeros(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """A safetensors file of float32 zeros in these shapes."""
    header, end = {}, 0
    for name, weight in weights.items():
        start, end = end, end + 4 * weight.numel()
        header[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


# --- the hub ---------------------------------------------------------------------------------


def add_unwanted(folder: Path) -> Path:
    for name in UNWANTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not to be fetched")
    return folder


@pytest.fixture(scope="session")
def visited(tmp_path_factory):
    """A hub with a repository for each case, after one client process has tried them all."""
    root = tmp_path_factory.mktemp("hub")
    music = save_small(
        root / "music",
        {"block_out_channels": (32, 64, 64)},
        {"upsample_initial_channel": 256},
    )
    edit_config(music / "vocoder/config.json", model_type="hifigan")  # as in the real repository
    first, second = save_small(root / "first"), save_small(root / "second", seed=1)
    misfit = save_small(root / "misfit", vocoder={"model_in_dim": 80})
    pickled = Path(shutil.copytree(first, root / "pickled"))
    (pickled / VOCODER_FILE).unlink()
    sharded, half = root / "sharded", root / "half"
    for saved, options in ((sharded, {"max_shard_size": "20KB"}), (half, {"variant": "fp16"})):
        loaded = load(first)
        loaded.vae.save_pretrained(saved / "vae", **options)
        loaded.vocoder.save_pretrained(saved / "vocoder", **options)
    trained = Path(shutil.copytree(first, root / "trained"))
    MagnitudeNetwork(channels=8, hidden=8, layers=1, kernel=3).save_pretrained(trained / "fast")
    unrelated = root / "unrelated"
    (unrelated / "unet").mkdir(parents=True)
    for folder in (music, first, second, misfit, pickled):
        add_unwanted(folder)
    with serve() as hub:
        commits = {
            "music": hub.add("cvssp/audioldm2-music", music),
            "first": hub.add("someone/small", first, "v1"),
            "second": hub.add("someone/small", second),
        }
        hub.add("someone/misfit", misfit)
        hub.add("someone/pickled", pickled)
        hub.add("someone/unrelated", unrelated)
        hub.add("someone/flaky", first)
        hub.add("someone/sharded", sharded)
        hub.add("someone/half", half)
        hub.add("someone/trained", trained)
        hub.add("someone/guarded", first)
        hub.tokens["someone/guarded"] = "hf_right"
        hub.gated.add("someone/gated")
        hub.private.add("someone/private")
        hub.failures["someone/flaky"] = 2
        cases = [
            ("music", "music", {}),
            ("v1", "someone/small", {"revision": "v1"}),
            ("main", "someone/small", {}),
            ("commit", "someone/small", {"revision": commits["first"]}),
            ("flaky", "someone/flaky", {}),
            ("sharded", "someone/sharded", {}),
            ("half", "someone/half", {"variant": "fp16"}),
            ("no half", "someone/small", {"variant": "bf16"}),
            ("trained", "someone/trained", {}),
            ("guarded", "someone/guarded", {"token": "hf_right"}),
            ("misfit", "someone/misfit", {}),
            ("pickled", "someone/pickled", {}),
            ("unrelated", "someone/unrelated", {}),
            ("gated", "someone/gated", {}),
            ("private", "someone/private", {}),
            ("absent", "someone/absent", {}),
            ("no revision", "someone/small", {"revision": "v9"}),
            ("local only", "someone/else", {"local_files_only": True}),
        ]
        results = run_client(cases, root / "home", HF_ENDPOINT=hub.url)
        yield SimpleNamespace(
            hub=hub, commits=commits, results=results, home=root / "home", root=root
        )
    shutil.rmtree(root)  # pytest would keep the last three


@pytest.mark.process
def test_a_variant_comes_from_its_repository(visited):
    result = visited.results["music"]
    parts = load(visited.root / "music")
    assert result == {
        "variant": "music",
        "source": "cvssp/audioldm2-music",
        "revision": visited.commits["music"],
        "licence": "cc-by-nc-sa-4.0",
        "parameters": [
            sum(p.numel() for p in model.parameters()) for model in (parts.vae, parts.vocoder)
        ],
        "latent": [1, 8, 12, 16],
        "latent_sum": result["latent_sum"],
        "mel": [1, 48, 64],
        "samples": [1, 48 * 160],
        "fast": None,
    }
    assert "weights are cc-by-nc-sa-4.0, not for commercial use" in visited.results["stderr"]


@pytest.mark.process
def test_nothing_but_the_four_files_is_asked_for(visited):
    """And of a repository that is none of the variants, whether it has a network of its own."""
    assert set(visited.hub.files_asked("cvssp/audioldm2-music")) == WANTED
    assert set(visited.hub.files_asked("someone/flaky")) == WANTED | {"fast/config.json"}
    fetched = [path for method, path in visited.hub.log if method == "GET"]
    assert len(fetched) == len(set(fetched))  # and each only once


@pytest.mark.process
def test_a_repository_s_own_network_comes_with_it(visited):
    assert visited.results["v1"]["fast"] is None
    files = ["config.json", "diffusion_pytorch_model.safetensors"]
    assert visited.results["trained"]["fast"] == files
    asked = set(visited.hub.files_asked("someone/trained"))
    assert asked == WANTED | {f"fast/{name}" for name in files}


@pytest.mark.parametrize("case", ["sharded", "half", "guarded"])
@pytest.mark.process
def test_shards_a_variant_and_a_token_give_the_same_model(visited, case):
    assert visited.results[case]["latent_sum"] == visited.results["v1"]["latent_sum"]
    fetched = {path.split("/", 5)[5] for method, path in visited.hub.log
               if method == "GET" and f"/someone/{case}/" in path}  # fmt: skip
    weights = {name for name in fetched if name.endswith(".safetensors")}
    assert all((".fp16." in name) == (case == "half") for name in weights)
    assert (len(weights) > 2) == (case == "sharded")


@pytest.mark.process
def test_the_log_would_show_more(visited, tmp_path):
    """A client that wants the whole repository is served it, and the log says so."""
    script = (
        "import sys; from huggingface_hub import snapshot_download; "
        "snapshot_download('someone/whole', cache_dir=sys.argv[1])"
    )
    visited.hub.add("someone/whole", visited.root / "first")
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"HF_ENDPOINT": visited.hub.url, "HF_HUB_OFFLINE": "0"},
        check=True,
        capture_output=True,
    )
    assert set(visited.hub.files_asked("someone/whole")) == WANTED | set(UNWANTED) | {"api"}


@pytest.mark.process
def test_revisions_are_honoured(visited):
    v1, main, commit = (visited.results[name] for name in ("v1", "main", "commit"))
    assert v1["revision"] == commit["revision"] == visited.commits["first"]
    assert main["revision"] == visited.commits["second"]
    assert v1["latent_sum"] == commit["latent_sum"] != main["latent_sum"]
    assert main["variant"] == "custom"
    assert main["licence"] is None


@pytest.mark.process
def test_server_errors_are_tried_again(visited):
    assert visited.hub.failures["someone/flaky"] == 0
    assert visited.results["flaky"]["latent_sum"] == visited.results["v1"]["latent_sum"]


@pytest.mark.process
def test_misfit_costs_no_weights(visited):
    assert "model_in_dim is 80, expected 64" in visited.results["misfit"]["message"]
    asked = set(visited.hub.files_asked("someone/misfit"))
    assert asked == {"vae/config.json", "vocoder/config.json"}


@pytest.mark.process
def test_pickle_on_a_hub_is_not_fetched(visited):
    assert "a pickle can run code" in visited.results["pickled"]["message"]
    fetched = [path for method, path in visited.hub.log if method == "GET" and "pickled" in path]
    assert not [path for path in fetched if path.endswith(".bin")]


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ("unrelated", "ValueError", "has no vae/ and vocoder/ with a config.json each"),
        ("gated", "OSError", "gated; accept its licence on its page, then log in with `hf auth"),
        ("private", "OSError", "answered 401; log in with `hf auth login`"),
        ("absent", "ValueError", "no folder here, and not found on http://127.0.0.1:"),
        ("no revision", "ValueError", "has no revision 'v9'"),
        ("no half", "ValueError", "no vae/diffusion_pytorch_model.bf16.safetensors"),
        ("local only", "OSError", "not in the cache; connect once, set HF_ENDPOINT to a mirror"),
    ],
)
@pytest.mark.process
def test_refusals_of_a_hub_in_one_line(visited, case, error, message):
    result = visited.results[case]
    assert result["error"] == error
    assert message in result["message"]
    assert "\n" not in result["message"]


@pytest.mark.process
def test_what_is_cached_is_listed(visited):
    cached = {row[0]: row for row in visited.results["models"]}
    size = sum((visited.root / "music" / name).stat().st_size for name in WANTED) / 1e6
    assert size > 3
    assert cached["music"][1:4] == ["cvssp/audioldm2-music", "music", "443 MB"]
    assert cached["music"][4] == f"{size:.0f} MB"
    assert cached["speech"][4] == "none"


@pytest.fixture(scope="module")
def without_hub(visited, zygote):
    """Later clients with the same cache: one that is to ask nothing, and one that cannot."""
    with serve() as hub:
        gone = hub.url  # nobody listens there any more
    asked = len(visited.hub.log)
    cases = [("v1", "someone/small", {"revision": "v1"}), ("uncached", "speech", {})]
    cases += [("sharded", "someone/sharded", {}), ("trained", "someone/trained", {})]
    offline = {"cases": cases, "HF_ENDPOINT": visited.hub.url, "HF_HUB_OFFLINE": "1"}
    lost = {"cases": [("main", "someone/small", {})], "HF_ENDPOINT": gone}
    home = {"home": visited.home}
    found = run_warm_clients(zygote, {"offline": offline | home, "gone": lost | home})
    return found | {"asked": len(visited.hub.log) - asked}


@pytest.mark.process
def test_second_load_needs_no_hub(visited, without_hub):
    assert without_hub["asked"] == 0
    for name in ("v1", "sharded", "trained"):
        assert without_hub["offline"][name] == visited.results[name]
    assert "not in the cache; connect once" in without_hub["offline"]["uncached"]["message"]


@pytest.mark.process
def test_cached_copy_serves_when_the_hub_is_gone(visited, without_hub):
    assert without_hub["gone"]["main"] == visited.results["main"]


@pytest.mark.process
def test_listing_and_checking_load_no_torch():
    script = (
        "import sys; from vaerecon.models import sources; sources.describe(); "
        "sources.check_source('tiny'); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_cached_of_the_bundled_model_is_its_size():
    folder = Path(sources.__file__).parents[1] / "bundled/tiny"
    names = [*WANTED, "fast/config.json", "fast/diffusion_pytorch_model.safetensors"]
    names += ["codec/tables.safetensors", "streaming/norms.safetensors"]
    assert sources.cached("tiny") == sum((folder / name).stat().st_size for name in names)
