"""On an NVIDIA GPU: every stage gives what it gives on the CPU, and stays on the device.

Skipped, and said so, where torch sees no such GPU. Sums are rounded in another order there, and
TensorFloat-32 may shorten factors: hence bands instead of equality.
"""

from __future__ import annotations

import pytest
import torch

from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.pipeline.pipeline import ReconstructionPipeline

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")

FROM_A_MEL = [name for name, method in METHODS.items() if "original" not in method.needs]


@pytest.fixture(scope="module")
def on_gpu() -> ReconstructionPipeline:
    return ReconstructionPipeline.from_pretrained("tiny", device="cuda", dtype="float32")


def test_the_mel_is_the_same(sound):
    mel = log_mel(torch.from_numpy(sound).cuda())
    assert mel.device.type == "cuda"
    torch.testing.assert_close(mel.cpu(), log_mel(sound), atol=2e-3, rtol=0)


def test_the_vae_is_the_same(tiny, on_gpu, sound):
    mel = log_mel(sound)
    latent = on_gpu.encode(mel)
    assert latent.device.type == "cuda"
    returned = on_gpu.decode(latent)
    assert returned.device.type == "cuda"
    error = (returned.cpu() - tiny.decode(tiny.encode(mel))).abs().mean()
    assert error < 0.01  # nepers


@pytest.mark.parametrize("name", FROM_A_MEL)
def test_a_method_stays_on_the_device_and_keeps_the_mel(tiny, on_gpu, sound, name):
    """Phase retrieval may end elsewhere after other rounding: its mel says whether it worked."""
    mel = log_mel(sound)
    samples = on_gpu.synthesize(mel.cuda(), name, len(sound))
    assert samples.device.type == "cuda"
    assert samples.shape == sound.shape
    if METHODS[name].uses_mel:
        here = tiny.synthesize(mel, name, len(sound))
        errors = [(log_mel(x, normalize=False) - mel).abs().mean() for x in (samples.cpu(), here)]
        assert abs(errors[0] - errors[1]) < 0.05  # nepers


def test_bfloat16_is_near(on_gpu, sound):
    half = ReconstructionPipeline.from_pretrained("tiny", device="cuda", dtype="bfloat16")
    mel = log_mel(sound)
    error = (half.decode(half.encode(mel)) - on_gpu.decode(on_gpu.encode(mel))).abs().mean()
    assert error < 0.1  # nepers
    assert half.synthesize(mel, "vocoder").dtype == torch.float32


def test_a_run_on_the_device_has_all_its_numbers(on_gpu, sound):
    result = on_gpu(sound, ["vocoder", "fast", "griffinlim"], exclude_metrics=["visqol"])
    assert on_gpu.describe().device.startswith("cuda")
    for found in result.methods.values():
        assert found.seconds > 0
    assert all(torch.isfinite(samples).all() for samples in result.audio.values())
