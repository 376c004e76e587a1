"""Other people's checkpoints and hubs: what is damaged or hostile is refused, in one line.

The ordinary cases stand in ``test_checkpoints.py``; here are the systematic and the malicious ones.
Nothing but a ``ValueError`` or an ``OSError`` may come out, whatever a file holds.
"""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import (
    VAE_FILE,
    VOCODER_FILE,
    Canary,
    edit_config,
    edit_weights,
    run_warm_clients,
    save_small,
)
from helpers.hub_server import serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from vaerecon.models.checkpoints import load
from vaerecon.models.sources import check_source
from vaerecon.pipeline.pipeline import ReconstructionPipeline

HUGE = 10**12


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A small checkpoint; not to be changed."""
    return save_small(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(original, tmp_path / "mine"))


def refusal(folder: Path) -> str:
    """The one line with which a checkpoint is refused, naming it."""
    with pytest.raises((ValueError, OSError)) as caught:
        load(folder)
    text = str(caught.value)
    assert text.startswith("mine: ")
    assert "\n" not in text
    assert len(text) < 500
    return text


# --- configs --------------------------------------------------------------------------------------

ABSURD = [
    *[("vae", {"block_out_channels": v}) for v in ([HUGE] * 3, [-8, 16, 16], [0, 0, 0], [])],
    *[("vae", {"block_out_channels": v}) for v in ("8", None, [[8]], [8.0, 16, 16], {"8": 1})],
    *[("vae", {"latent_channels": v}) for v in (HUGE, -1, 0, "8", True, 8.0, None)],
    *[("vae", {"layers_per_block": v}) for v in (HUGE, -1, 0, "2")],
    *[("vae", {"norm_num_groups": v}) for v in (0, -4, HUGE, "4")],
    *[("vae", {"in_channels": v}) for v in (HUGE, -1, 0, "1", None)],
    *[("vae", {"out_channels": v}) for v in (HUGE, -1, "1")],
    *[("vae", {"down_block_types": v}) for v in (["x"] * 3, 5, ["DownEncoderBlock2D"] * 9000)],
    *[("vae", {"act_fn": v}) for v in ("evil", 3)],
    *[("vocoder", {"model_in_dim": v}) for v in (HUGE, -64, 0, "64", 64.5, None, 80)],
    *[("vocoder", {"upsample_initial_channel": v}) for v in (HUGE, -1, 0, "32", None)],
    *[("vocoder", {"upsample_rates": v}) for v in ([HUGE], [0] * 5, [-5, 4, 2, 2, 2], "5")],
    *[("vocoder", {"upsample_kernel_sizes": v}) for v in ([0] * 5, [HUGE] * 5, [16], None)],
    *[("vocoder", {"resblock_kernel_sizes": v}) for v in ([3] * 1000, [HUGE] * 3, "3")],
    *[("vocoder", {"resblock_dilation_sizes": v}) for v in ([[1] * 50_000] * 3, [[HUGE] * 3] * 3)],
    *[("vocoder", {"resblock_dilation_sizes": v}) for v in ([1, 3, 5], [[]] * 50_000, [["1"]])],
    *[("vocoder", {"leaky_relu_slope": v}) for v in ("x", None, [])],
    *[("vocoder", {"architectures": v}) for v in ("Evil", ["Evil"], [[]], {"0": 1}, 5)],
    *[("vae", {"_class_name": v}) for v in (None, [], ["AutoencoderKL"], "os.system")],
]


@pytest.mark.parametrize(("part", "changes"), ABSURD, ids=lambda v: str(v)[:50])
def test_an_absurd_config_is_refused_before_anything_is_allocated(folder, part, changes):
    edit_config(folder / part / "config.json", **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(folder)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB; the peak of the process, so that what was freed again counts too


@pytest.mark.parametrize(
    "text",
    [
        "[" * 400_000,  # deeper than Python's parser can go
        '{"a":' * 150_000,
        '{"layers_per_block": ' + "9" * 5000 + "}",
        '{"scaling_factor": NaN}',
        '{"scaling_factor": -Infinity}',
        "null",
        '"vae"',
        "\0",
    ],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("part", ["vae", "vocoder"])
def test_a_config_that_is_no_sane_json_is_refused(folder, part, text):
    (folder / part / "config.json").write_text(text)
    assert f"{part}/config.json" in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"quantization_config": {"load_in_8bit": True, "quant_method": "bitsandbytes"}},
        {"quantization_config": {"quant_method": "x"}},
        {"num_labels": 10**8},  # transformers would make a dictionary of them
        {"id2label": [1]},
        {"model_type": ["x"], "architectures": ["SpeechT5HifiGan"]},
        {"auto_map": {"AutoModel": "evil--code.Model", "AutoencoderKL": "evil.Model"}},
        {"torch_dtype": "evil", "dtype": "evil"},
        {"_name_or_path": "../../somewhere", "_attn_implementation": "evil"},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.slow
def test_what_does_not_shape_the_model_is_not_read(folder, original, change):
    for part in ("vae", "vocoder"):
        edit_config(folder / part / "config.json", **change)
    loaded, expected = load(folder), load(original)
    for part in ("vae", "vocoder"):
        for name, weight in getattr(expected, part).state_dict().items():
            assert torch.equal(getattr(loaded, part).state_dict()[name], weight)


@pytest.mark.slow
def test_any_missing_key_gives_the_same_model_or_a_refusal(original, tmp_path):
    """A key's default may be the value that it had; another one must not pass unnoticed."""
    expected = load(original)
    outcomes = {"same": 0, "refused": 0}
    for part in ("vae", "vocoder"):
        config = json.loads((original / part / "config.json").read_text())
        for key in config:
            folder = tmp_path / "mine"
            shutil.copytree(original, folder)
            rest = {name: value for name, value in config.items() if name != key}
            (folder / part / "config.json").write_text(json.dumps(rest))
            try:
                loaded = load(folder)
            except ValueError:
                outcomes["refused"] += 1
            else:
                same = getattr(loaded, part), getattr(expected, part)
                assert str(same[0]) == str(same[1]), key
                outcomes["same"] += 1
            shutil.rmtree(folder)
    assert outcomes["refused"] >= 5
    assert outcomes["same"] >= 5


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), file=st.sampled_from([VAE_FILE, VOCODER_FILE]))
def test_flipped_bits_in_the_header_or_a_cut_anywhere(tmp_path, original, data, file):
    folder = tmp_path / "mine"
    if not folder.exists():
        shutil.copytree(original, folder)
    whole = (original / file).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    spoilt = bytearray(whole)
    if data.draw(st.booleans(), label="cut"):
        del spoilt[data.draw(st.integers(0, len(whole) - 1), label="at") :]
    else:
        for _ in range(data.draw(st.integers(1, 4), label="flips")):
            spoilt[data.draw(st.integers(0, header - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / file).write_bytes(spoilt)
    said = ""
    try:
        load(folder)  # a flip in a space, or two that undo each other, may do no harm
    except (ValueError, OSError) as error:
        said = str(error)
    finally:
        shutil.copy(original / file, folder / file)
    assert "\n" not in said
    assert said.startswith(f"mine: {file}: ") or not said


@pytest.mark.parametrize(
    ("file", "name", "stage"),
    [
        (VAE_FILE, "encoder.conv_in.weight", "VAE encoder"),
        (VAE_FILE, "decoder.conv_out.bias", "VAE decoder"),
        (VOCODER_FILE, "conv_pre.weight", "vocoder"),
    ],
)
def test_a_bit_that_makes_a_weight_infinite_is_met_at_its_stage(folder, sound, file, name, stage):
    """All exponent bits set, as a damaged disk may do: the file is valid, and no sum is stored."""

    def spoil(weights):
        weights[name].view(-1)[:1].view(torch.int32).fill_(0x7F800000)
        return weights

    edit_weights(folder / file, spoil)
    pipe = ReconstructionPipeline.from_pretrained(str(folder), device="cpu")
    with pytest.raises(ValueError, match=f"^{stage}: g.* are its weights intact"):
        pipe(sound[:4000], ["vocoder"], exclude_metrics=["visqol", "pesq_wb"])


def test_a_pickle_named_safetensors_is_refused_and_not_opened(folder, tmp_path):
    canary = tmp_path / "canary"
    for file in (VAE_FILE, VOCODER_FILE):
        (folder / file).write_bytes(pickle.dumps(Canary(canary)))
    assert "is truncated or no safetensors file" in refusal(folder)
    assert not canary.exists()


def test_torch_s_own_format_named_safetensors_is_refused_and_not_opened(folder, tmp_path):
    canary = tmp_path / "canary"
    torch.save({"weight": Canary(canary)}, folder / VAE_FILE)
    assert "is truncated or no safetensors file" in refusal(folder)
    assert not canary.exists()


def test_weights_that_are_no_floats_are_refused(folder):
    edit_weights(folder / VAE_FILE, lambda w: {n: t.to(torch.int32) for n, t in w.items()})
    assert "has weights of type I32, expected floats" in refusal(folder)


@pytest.mark.parametrize("outside", ["../../outside.safetensors", "other.safetensors"])
@pytest.mark.parametrize("file", [VAE_FILE, VOCODER_FILE])
def test_an_index_cannot_bring_in_other_weights(folder, original, file, outside):
    """The libraries would follow it, past every check of the file that it stands beside."""
    weights = load_file(folder / file)
    other = (folder / file).parent / outside
    save_file({n: torch.full_like(w, 7.0) for n, w in weights.items()}, other)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, outside)}
    (folder / f"{file}.index.json").write_text(json.dumps(index))
    (folder / "vocoder/adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    part = file.split("/")[0]
    loaded = getattr(load(folder), part).state_dict()
    for name, weight in load_file(original / file).items():
        assert torch.equal(loaded[name], weight)


@pytest.mark.parametrize(
    "name",
    [
        "../../outside.safetensors",
        "/etc/passwd",
        "sub/{stem}-00001-of-00001.safetensors",
        "../vae/{stem}-00001-of-00001.safetensors",
        "{stem}-00001-of-00001.bin",
        "other-00001-of-00001.safetensors",
        "{stem}-1-of-1.safetensors",
        ["{stem}-00001-of-00001.safetensors"],
        7,
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("file", [VAE_FILE, VOCODER_FILE])
def test_an_index_names_nothing_but_shards_beside_it(folder, file, name):
    """Where the one file is missing and an index is there, which then is followed."""
    path = folder / file
    weights, stem = load_file(path), path.name.removesuffix(".safetensors")
    path.unlink()
    name = name.format(stem=stem) if isinstance(name, str) else name
    if isinstance(name, str) and name != "/etc/passwd":  # what it leads to would fit
        (path.parent / name).parent.mkdir(exist_ok=True)
        save_file(weights, path.parent / name)
    index = {"weight_map": dict.fromkeys(weights, name)}
    (folder / f"{file}.index.json").write_text(json.dumps(index))
    assert f"{file}.index.json: names " in refusal(folder)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": "vae"}', "{", "[" * 9],
)
def test_an_index_that_is_none_is_refused(folder, text):
    (folder / VAE_FILE).unlink()
    (folder / f"{VAE_FILE}.index.json").write_text(text)
    assert f"{VAE_FILE}.index.json: " in refusal(folder)


@pytest.mark.parametrize("how", ["one is missing", "one is cut", "two have the same", "one lacks"])
def test_damaged_shards_are_refused(folder, how):
    loaded = load(folder)
    (folder / VAE_FILE).unlink()
    loaded.vae.save_pretrained(folder / "vae", max_shard_size="20KB")
    first, second, *_ = sorted((folder / "vae").glob("*.safetensors"))
    if how == "one is missing":
        second.unlink()
        expected = f"names {second.name}, which is not there"
    elif how == "one is cut":
        second.write_bytes(second.read_bytes()[:-1])
        expected = f"vae/{second.name}: is truncated or no safetensors file"
    elif how == "two have the same":
        shutil.copy(first, second)
        expected = f"vae/{second.name}: has "
    else:
        edit_weights(second, lambda weights: dict(list(weights.items())[1:]))
        expected = "shards: 1 of "
    assert expected in refusal(folder)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "../somewhere/else",
        "someone/..",
        "../model",
        "/etc/passwd",
        "someone/model/../../x",
        "some one/model",
        "someone/model\n",
        "someone/model\0",
        "https://example.org/a/b",
        "file:///etc/passwd",
        "someone\\model",
        "$(id)/x",
        "~nobody/x/y",
    ],
)
def test_a_name_that_leads_elsewhere_is_no_hub_id(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for check in (check_source, load):
        with pytest.raises(ValueError, match=r"model: got|null byte"):
            check(source)


@pytest.mark.parametrize("revision", ["../../evil", "a/../../b", "/etc", "..", "a\0b", ""])
def test_a_revision_that_leads_elsewhere_is_refused(revision):
    with pytest.raises(ValueError, match=r"revision: got .*, expected a branch, tag or commit"):
        load("someone/model", revision=revision, local_files_only=True)


# --- hubs that fail -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faults(zygote, tmp_path_factory):
    """Clients of a failing hub, all at once, since some wait between their tries."""
    root = tmp_path_factory.mktemp("faulty")
    small = save_small(root / "small")
    full, mounted = root / "full", False
    full.mkdir()
    with serve() as hub:
        for name in ("silent", "broken", "elsewhere", "full", "uncached"):
            hub.add(f"someone/{name}", small)
        hub.silent.add("someone/silent")
        hub.failures["someone/broken"] = 10**6
        hub.commits["someone/elsewhere"] = "../../../../evil"
        with serve() as other:
            gone = other.url  # nobody listens there any more
        variables = {
            "elsewhere": {},
            "broken": {},
            "silent": {"HF_HUB_DOWNLOAD_TIMEOUT": "1"},
            "uncached": {"HF_ENDPOINT": gone},
            "schemeless": {"HF_ENDPOINT": "hub.invalid"},
        }
        if sys.platform == "linux":
            mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(full)]
            mounted = not subprocess.run(mount, capture_output=True).returncode
        if mounted:
            variables["full"] = {}
        try:
            yield run_warm_clients(zygote, {
                name: {"cases": [(name, f"someone/{name}", {})], "home": root / name / "home",
                       "HF_ENDPOINT": hub.url} | more
                for name, more in variables.items()
            }) | {"root": root}  # fmt: skip
        finally:
            if mounted:
                subprocess.run(["umount", str(full)], check=True)
    shutil.rmtree(root)


@pytest.mark.process
@pytest.mark.fault
def test_a_cut_connection_is_resumed_where_it_was_cut(original, zygote, tmp_path):
    large = Path(shutil.copytree(original, tmp_path / "large"))
    # the client keeps what came in pieces of 10 MiB, so that a cut must come later to be resumed
    edit_weights(large / VAE_FILE, lambda w: w | {"filler": torch.zeros(3_000_000)})
    with serve() as hub:
        hub.add("someone/cut", large)
        hub.cuts["someone/cut"] = 11_000_000
        client = {"cases": [("cut", "someone/cut", {})], "home": tmp_path / "home"}
        found = run_warm_clients(zygote, {"cut": client | {"HF_ENDPOINT": hub.url}})["cut"]["cut"]
    assert "error" not in found
    first, second = (start for path, start, _ in hub.ranges if VAE_FILE in path)
    assert first == 0
    assert 10_000_000 <= second <= 11_000_000
    assert found["latent"] == [1, 8, 12, 16]


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ("silent", "OSError", "did not answer in time, several times; try later, or give it more"),
        ("broken", "OSError", "answered 500, several times; try later, or another mirror"),
        ("uncached", "OSError", "no connection (or offline mode) and not in the cache; connect"),
        ("elsewhere", "ValueError", "Invalid pointer path"),
        ("schemeless", "ValueError", "HF_ENDPOINT: got 'hub.invalid', expected an address; write"),
        ("full", "OSError", "No space left on device); free some, or set HF_HOME to a folder on"),
    ],
)
@pytest.mark.process
@pytest.mark.fault
def test_what_failed_is_said_in_one_line_with_what_to_do(faults, case, error, message):
    if case not in faults:
        pytest.skip("needs the right to mount a small disk (root), as .ci/run has")
    result = faults[case][case]
    assert result.get("error") == error
    assert message in result["message"]
    assert "\n" not in result["message"]
    assert "Traceback" not in faults[case]["stderr"]


@pytest.mark.process
@pytest.mark.fault
def test_a_commit_of_a_hostile_hub_leads_nowhere(faults):
    assert not [path for path in faults["root"].rglob("*") if path.name == "evil"]
