"""AudioLDM2's own architecture, random weights: the kit's calls against plain float32 ones.

    python -m benchmarks.full_size [--quick] [--json FILE]

Random weights give no sound worth scoring. So that differences mean what they would mean in a
trained model, the latent is scaled to a deviation of 1 and the decoder's output to the mean and
deviation of the clip's own log-mel. What the mixed precision does to PESQ is measured on the tiny
model, whose weights are trained; its layers are mixed down to 8 channels for that.
"""

from __future__ import annotations

import copy
import statistics
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.common import (
    Section,
    main,
    matmul_rate,
    measure,
    multiply_adds,
    percent_of_limit,
    ratio,
    ratio_text,
    seconds_text,
    sound,
    table,
)
from benchmarks.length import FULL_VAE, FULL_VOCODER
from vaerecon import metrics
from vaerecon.audio.clip import load_audio
from vaerecon.audio.samples import normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.models import autoencoder, precision
from vaerecon.models.vocoder import vocode

SECONDS = 5
PESQ_SEEDS = 16


@torch.inference_mode()
def full_size(mel: torch.Tensor) -> tuple[Any, Any]:
    """VAE and vocoder of AudioLDM2's sizes, seeded, scaled as the module's docstring says."""
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    vae = AutoencoderKL(**FULL_VAE).eval()
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**FULL_VOCODER)).eval()
    latent = vae.encode(mel[None, None]).latent_dist.mean
    for values in (vae.quant_conv.weight, vae.quant_conv.bias):
        values.div_(latent.std())
    latent = vae.encode(mel[None, None]).latent_dist.mean
    out = vae.decode(latent).sample
    last = vae.decoder.conv_out
    for values in (last.weight, last.bias):
        values.mul_(mel.std() / out.std())
    last.bias.add_(mel.mean() - out.mean() * mel.std() / out.std())
    return vae, vocoder


@torch.inference_mode()
def parts(vae: Any, vocoder: Any, mel: torch.Tensor) -> dict[str, Any]:
    """The plain calls, each with the input that it gets in the flow."""
    picture = mel[None, None]
    latent = vae.encode(picture).latent_dist.mode()
    return {
        "VAE encode": lambda: vae.encode(picture).latent_dist.mode(),
        "VAE decode": lambda: vae.decode(latent).sample,
        "vocoder": lambda: vocoder(mel[None]),
    }


@torch.inference_mode()
def timed(pairs: dict[str, Any], repeats: int) -> dict[str, Any]:
    return measure(pairs, repeats)


def tiny_differences() -> tuple[str, dict]:
    """What mixing does to trained weights: log-mel and PESQ of the tiny model."""
    from vaerecon.models.checkpoints import load

    plain = load("tiny", device="cpu", dtype="float32").vae
    with patch.object(precision, "WIDE", 8):  # its layers are narrower than those that pay
        mixed = precision.mix(copy.deepcopy(plain))
    griffin_lim = METHODS["griffinlim"].function
    errors, changes = [], []
    for path in demo_clips().values():
        x, _ = normalize_level(load_audio(path).samples)
        mel = log_mel(x, normalize=False)
        one, other = (
            autoencoder.decode(vae, autoencoder.encode(vae, mel), len(mel))
            for vae in (plain, mixed)
        )
        errors.append(float((other - one).abs().mean()))
        # another last digit leads Griffin-Lim to another sound: only the mean of many says anything
        for seed in range(PESQ_SEEDS):
            sounds = (griffin_lim(m, len(x), torch.Generator().manual_seed(seed))
                      for m in (one, other))  # fmt: skip
            scores = [metrics.evaluate(x, y, metrics=("pesq_wb",))["pesq_wb"] for y in sounds]
            if None not in scores:
                changes.append(scores[1] - scores[0])
    error, change = statistics.mean(errors), statistics.mean(changes)
    deviation = statistics.stdev(changes) / len(changes) ** 0.5
    return (
        f"Trained weights (tiny VAE with all its layers mixed, then `griffinlim`, {len(errors)} "
        f"clips, {PESQ_SEEDS} seeds): log-mel difference {error:.4f} nepers, PESQ {change:+.3f} "
        f"with a standard error of {deviation:.3f}."
    ), {"log_mel_nepers": error, "pesq_changes": changes}


@torch.inference_mode()
def differences(plain: tuple[Any, Any], tuned: tuple[Any, Any], mel: torch.Tensor) -> dict:
    """Mean log-mel differences, nepers: behind the VAE, and of the sound behind the vocoder."""
    through = [vae.decode(vae.encode(mel[None, None]).latent_dist.mode()).sample[0, 0]
               for vae, _ in (plain, tuned)]  # fmt: skip
    sounds = [vocode(vocoder, through[0]) for _, vocoder in (plain, tuned)]
    heard = [log_mel(s) for s in sounds]
    signal, error = sounds[0].square().sum(), (sounds[1] - sounds[0]).square().sum()
    return {
        "vae_nepers": float((through[1] - through[0]).abs().mean()),
        "vocoder_nepers": float((heard[1] - heard[0]).abs().mean()),
        "vocoder_snr_db": float(10 * torch.log10(signal / error)) if error > 0 else None,
    }


def against_griffin_lim(
    vocoder: Any, mel: torch.Tensor, n_samples: int, repeats: int
) -> tuple[list[str], tuple[float, float, float]]:
    """The vocoder, plain, and `griffinlim` in turns: a row, and how many times slower it is."""
    function = METHODS["griffinlim"].function
    seed = torch.Generator().manual_seed(0)
    times = timed(
        {"vocoder": vocoder, "griffinlim": lambda: function(mel, n_samples, seed)}, repeats
    )
    one, other = times["vocoder"], times["griffinlim"]
    slower = ratio(one, other)
    name = "`griffinlim` instead of the vocoder"
    row = [name, "-", seconds_text(one), "-", seconds_text(other), "-", ratio_text(slower)]
    return row, slower


def run(quick: bool = False) -> Section:
    """Times, ratios, percent of limit; differences."""
    seconds = 2 if quick else SECONDS
    x = torch.from_numpy(sound(seconds))
    mel = log_mel(x)
    plain = full_size(mel)
    copies = copy.deepcopy(plain)
    with patch.dict("os.environ", {"VAERECON_DTYPE": ""}):
        tuned = (
            precision.tune(copies[0], precision.run_vae),
            precision.tune(copies[1], precision.run_vocoder),
        )
    chosen = {"VAE encode": tuned[0], "VAE decode": tuned[0], "vocoder": tuned[1]}
    calls, kit_calls = parts(*plain, mel), parts(*tuned, mel)
    repeats = 2 if quick else 3
    rows, numbers = [], {"chosen": {}, "seconds": {}, "ratios": {}, "multiply_adds": {}}
    whole: dict[str, list] = {"plain": [], "kit": []}
    for name, call in calls.items():
        with torch.inference_mode():
            macs = multiply_adds(call)
        times = timed({"plain": call, "kit": kit_calls[name]}, repeats)
        dtype = precision.dtype_name(chosen[name])
        faster = ratio(times["plain"], times["kit"])
        for key in whole:
            whole[key].append(times[key])
        limit = "bfloat16" if dtype == "mixed" else "float32"
        rows.append([
            name,
            f"{macs / 1e9 / seconds:.1f}",
            seconds_text(times["plain"]),
            percent_of_limit(macs, times["plain"].median),
            f"{dtype}: {seconds_text(times['kit'])}",
            percent_of_limit(macs, times["kit"].median, limit),
            ratio_text(faster),
        ])  # fmt: skip
        numbers["chosen"][name] = dtype
        numbers["seconds"][name] = {key: t.seconds for key, t in times.items()}
        numbers["ratios"][name] = faster
        numbers["multiply_adds"][name] = macs
    total = {key: sum(t.median for t in times) for key, times in whole.items()}
    numbers["end_to_end"] = total["plain"] / total["kit"]
    last = f"{total['plain'] / total['kit']:.3g}"
    rows.append(
        ["end to end", "-", f"{total['plain']:.3g} s", "-", f"{total['kit']:.3g} s", "-", last]
    )
    if "fast" in METHODS:
        fast = METHODS["fast"].function
        seed = torch.Generator().manual_seed(0)
        timing = timed({"fast": lambda: fast(mel, len(x), seed)}, 3 if quick else 7)["fast"]
        with_fast = total["kit"] - whole["kit"][-1].median + timing.median
        numbers["with_fast"] = total["plain"] / with_fast
        numbers["fast_seconds"] = timing.seconds
        numbers["fast_against_vocoder"] = whole["plain"][-1].median / timing.median
        rows.append([
            "`fast` instead of the vocoder", "-", f"{whole['plain'][-1].median:.3g} s", "-",
            f"{seconds_text(timing)}, real-time factor {timing.median / seconds:.4f}", "-",
            f"{numbers['fast_against_vocoder']:.3g}",
        ])  # fmt: skip
        rows.append([
            "end to end with `fast`", "-", f"{total['plain']:.3g} s", "-",
            f"{with_fast:.3g} s", "-", f"{numbers['with_fast']:.3g}",
        ])  # fmt: skip
    row, numbers["griffinlim_against_vocoder"] = against_griffin_lim(
        calls["vocoder"], mel, len(x), repeats
    )
    rows.append(row)
    numbers["differences"] = differences(plain, tuned, mel)
    found = numbers["differences"]
    trained, numbers["trained"] = tiny_differences()
    heading = ["", "GMAC per second of audio", "plain float32 calls", "of limit", "kit",
               "of limit", "times faster"]  # fmt: skip
    rates = {name: matmul_rate(name) / 1e9 for name in ("float32", "bfloat16")}
    numbers["matmul_gmacs"] = rates
    text = (
        f"{seconds} s of audio, {torch.get_num_threads()} threads. The limit is a product of large "
        f"matrices on this machine: {rates['float32']:.0f} G multiply-adds a second in float32, "
        f"{rates['bfloat16']:.0f} in bfloat16.\n\n{table(heading, rows)}\n\n"
        "Differences to float32 (random weights, scaled to the clip's log-mel): "
        f"{found['vae_nepers']:.4f} nepers behind the VAE, {found['vocoder_nepers']:.4f} nepers of "
        f"the sound behind the vocoder.\n\n{trained}"
    )
    return Section("Full size", "python -m benchmarks.full_size", text, numbers)


if __name__ == "__main__":
    main(run)
