"""Small checkpoints of AudioLDM2's layout, ways to spoil them, and a client that fetches them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from helpers.system import LIMIT
from helpers.zygote import Zygote, request
from vaerecon.models.fast_vocoder import MagnitudeNetwork

VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
VOCODER_FILE = "vocoder/model.safetensors"


def save_models(folder: Path, vae: dict, vocoder: dict, seed: int = 0) -> Path:
    """Random models of AudioLDM2's layout in ``folder``, as the libraries save them."""
    torch.manual_seed(seed)
    shared = {
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 8,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
    }
    AutoencoderKL(**shared | vae).save_pretrained(folder / "vae")
    shared = {
        "model_in_dim": 64,
        "upsample_rates": [5, 4, 2, 2, 2],
        "upsample_kernel_sizes": [16, 16, 8, 4, 4],
        "normalize_before": False,
    }
    config = SpeechT5HifiGanConfig(**shared | vocoder)
    SpeechT5HifiGan(config).save_pretrained(folder / "vocoder")
    return folder


def save_small(folder: Path, vae: dict | None = None, vocoder: dict | None = None, seed: int = 0):
    small = {"block_out_channels": (8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
    return save_models(
        folder, small | (vae or {}), {"upsample_initial_channel": 32} | (vocoder or {}), seed
    )


def edit_config(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(path: Path, change) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def small_network() -> MagnitudeNetwork:
    torch.manual_seed(0)
    return MagnitudeNetwork(channels=16, hidden=32, layers=2, kernel=5).eval()


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


CLIENT = """
import json, sys
from vaerecon.models import checkpoints, sources

results = {}
for name, source, options in json.loads(sys.stdin.read()):
    try:
        loaded = checkpoints.load(source, **options)
    except (ValueError, OSError) as error:
        results[name] = {"error": type(error).__name__, "message": str(error)}
        continue
    from vaerecon.models.autoencoder import decode, encode
    from vaerecon.models.vocoder import vocode
    import torch
    mel = torch.full((1, 48, 64), -5.0)
    latent = encode(loaded.vae, mel)
    results[name] = {
        "variant": loaded.variant, "source": loaded.source, "revision": loaded.revision,
        "licence": loaded.licence,
        "parameters": [
            sum(p.numel() for p in model.parameters()) for model in (loaded.vae, loaded.vocoder)
        ],
        "latent": list(latent.shape), "latent_sum": float(latent.double().sum()),
        "mel": list(decode(loaded.vae, latent).shape),
        "samples": list(vocode(loaded.vocoder, mel).shape),
        "fast": loaded.fast and sorted(path.name for path in loaded.fast.iterdir()),
    }
results["models"] = sources.describe()
print(json.dumps(results))
"""


def client_environment(home: Path, **variables: str) -> dict[str, str]:
    """This one's, with only these variables about hubs."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    return clean | {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | variables


def run_client(cases: list[tuple[str, str, dict]], home: Path, **variables: str) -> dict:
    """Load the cases in a new process with this environment; what came of it."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=json.dumps(cases),
        env=client_environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


def run_warm_clients(zygote: Zygote, clients: dict[str, dict]) -> dict[str, dict]:
    """The same in warm processes, all at once; each client is ``cases`` and variables."""
    requests = [
        request([], code=CLIENT, stdin=json.dumps(client.pop("cases")),
                env=client_environment(**client))
        for client in map(dict, clients.values())
    ]  # fmt: skip
    ends = zygote.run_at_once(requests)
    assert [end.status for end in ends] == [0] * len(ends), [end.stderr for end in ends]
    return {
        name: json.loads(end.stdout) | {"stderr": end.stderr}
        for name, end in zip(clients, ends, strict=True)
    }
