"""What each direction of the guide gains: the studies, and docs/directions.md from their tables.

    python -m benchmarks.directions CLIPS --training AUDIO [--max-length 4]

Measures, then writes the pages; without CLIPS it writes them from the numbers that were kept in
``benchmarks/directions.json``, with the words in ``benchmarks/directions.yaml``. Training audio is
only used to choose the contrast of each quarter of the bins, on a few files, by PESQ.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
import yaml

import vaerecon as vr
from vaerecon.audio.clip import Clip, load_audio
from vaerecon.audio.paths import sounds_below
from vaerecon.audio.samples import normalize_level
from vaerecon.comparison.grid import mean_settings
from vaerecon.lab.nb10_vocoder_input.sensitivity import SCORES, score_changes
from vaerecon.lab.nb10_vocoder_input.solutions import half_contrast
from vaerecon.mel import damage
from vaerecon.metrics import evaluate
from vaerecon.phase import griffin_lim, mel_to_magnitude
from vaerecon.utils.console import run_command

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "benchmarks" / "directions.yaml"
NUMBERS = ROOT / "benchmarks" / "directions.json"
PAGES = {"en": ROOT / "docs" / "directions.md", "zh": ROOT / "docs" / "directions.zh-CN.md"}
Change = Callable[[torch.Tensor], torch.Tensor]
WINDOWS = ((256, 80, 32), (1024, 160, 64), (4096, 640, 128))  # window, hop, bins
METHODS = ("griffinlim", "fast")
FACTORS = (0.95, 1.05, 1.1, 1.2)  # tried for each quarter of the bins
FEW = 6  # files of training audio, seconds of each
SHOWN = {"pesq_wb": 2, "stoi": 3, "lsd_db": 1, "log_mel_mae": 3}
HEADS = " | ".join(("PESQ-WB", "STOI", "LSD dB", "log-mel MAE"))
LEFT_OUT = ["visqol", "mrstft", "estoi"]


def full_range(x: torch.Tensor) -> torch.Tensor:
    """Min-max of a file, read back as the whole range of nepers."""
    return damage.FLOOR - damage.FLOOR * (x - x.min()) / (x.max() - x.min())


DAMAGED: dict[str, Change] = {
    "as it is": lambda x: x,
    "1 neper louder": lambda x: damage.shift(x, 1.0),
    "floor at -9": lambda x: x.clamp_min(-9.0),
    "floor at -7": lambda x: x.clamp_min(-7.0),
    "cut at 80 dB": damage.top_db,
    "blur of 1 frame": lambda x: damage.blur_time(x, 1.0),
    "blur of 1 bin": lambda x: damage.blur_bins(x, 1.0),
    "noise of 0.2 nepers": lambda x: damage.noise(x, 0.2),
    "power": damage.power,
    "dB": damage.decibels,
    "dB as 0 to 1": damage.min_max,
    "min-max, read back": full_range,
    "transposed": lambda x: x.mT,
}
FINDABLE = ("floor at -9", "floor at -7", "cut at 80 dB", "power", "dB", "dB as 0 to 1",
            "min-max, read back", "transposed")  # fmt: skip


def contrasts(fitted: list[float]) -> dict[str, Change]:
    """The rules for contrast that are compared."""
    return {
        "as it is": lambda x: x,
        "contrast 1.1": lambda x: damage.contrast(x, 0.1),
        "contrast 1.2": lambda x: damage.contrast(x, 0.2),
        "lower half 1.1": lambda x: half_contrast(x, 0.1),
        "upper half 1.1": lambda x: half_contrast(x.flip(-1), 0.1).flip(-1),
        "against a smooth spectrum 1.2": lambda x: x + 0.2 * (x - damage.blur_bins(x, 3.0)),
        "by quarter, fitted": lambda x: by_quarter(x, fitted),
    }


def by_quarter(mel: torch.Tensor, factors: list[float]) -> torch.Tensor:
    """A contrast of its own for each quarter of the bins, about the mean of the whole."""
    pieces = [damage.contrast(mel, f - 1).chunk(4, -1)[i] for i, f in enumerate(factors)]
    return torch.cat(pieces, dim=-1)


def fit_quarters(clips: list[Clip], pipe: Any) -> list[float]:
    """The factor of each quarter that scores best in PESQ, one quarter after the other."""
    found = [1.0] * 4
    for i in range(4):
        tried = {f: [*found[:i], f, *found[i + 1 :]] for f in (1.0, *FACTORS)}
        changes = {f: (lambda x, t=t: by_quarter(x, t)) for f, t in tried.items()}
        options = {"clips": clips, "pipe": pipe, "scores": ("pesq_wb",)}
        found[i] = float(score_changes("griffinlim", changes, **options)["pesq_wb"].idxmax())
    return found


def several_windows(clips: list[Clip]) -> dict[str, float]:
    """Means for a sound that is held to three mels in turn."""
    configs = [vr.MelConfig(n_fft=w, win_length=w, hop_length=h, n_mels=m) for w, h, m in WINDOWS]
    rows = []
    for clip in clips:
        samples, _ = normalize_level(clip.samples)
        mels = [vr.log_mel(samples, config, normalize=False) for config in configs]
        sound = griffin_lim(
            mel_to_magnitude(mels[0], configs[0], n_iter=5), len(samples), log_mel=mels[0],
            also=list(zip(mels[1:], configs[1:], strict=True)), n_iter=22, config=configs[0],
        )  # fmt: skip
        rows.append(evaluate(samples, sound, metrics=SCORES))
    values = sum(c.n_mels * c.frames_per_second for c in configs)
    return {**pd.DataFrame(rows).astype(float).mean(), "values_per_second": values}


def diagnoses(clips: list[Clip], pipe: Any) -> dict[str, list[int]]:
    """How many clips a change leaves a trace in (1 % of the values), and in how many it is found.

    The clips themselves, and what the VAE makes of them, count as traces that nothing may find.
    """
    found = {name: [0, 0] for name in (*FINDABLE, "true", "behind the VAE")}
    for clip in clips:
        mel = vr.log_mel(clip.samples)
        cases = {name: DAMAGED[name](mel) for name in FINDABLE}
        cases |= {"true": mel, "behind the VAE": pipe.decode(pipe.encode(mel), len(mel)).cpu()}
        for name, case in cases.items():
            same = case.shape == mel.shape and name in FINDABLE
            if not same or (case != mel).double().mean() >= 0.01:
                found[name][0] += 1
                found[name][1] += bool(vr.diagnose_mel(case))
    return found


def measure(folder: Path, training: Path | None, max_length: float) -> dict[str, Any]:
    """All studies, as plain numbers."""
    files = sounds_below(folder)[0]
    clips = [load_audio(path, max_length) for path in files]
    pipe = vr.ReconstructionPipeline.from_pretrained("tiny")
    options: dict[str, Any] = {"clips": clips, "pipe": pipe}
    sweep = {"max_length": max_length, "exclude_metrics": LEFT_OUT, "workers": 1}
    grid = vr.sweep(folder, {"n_fft": [768], "n_mels": [64, 96, 128]}, joint=True, **sweep)
    single = vr.sweep(folder, {"n_fft": [512], "n_mels": [96, 128]}, **sweep)
    means = pd.concat([mean_settings(grid), mean_settings(single)]).drop_duplicates("setting")
    table = vr.compare(folder, methods="vocoder,hybrid,griffinlim,fast", max_length=max_length,
                       exclude_metrics=LEFT_OUT, workers=1)  # fmt: skip
    ways = table.groupby(["through_vae", "method"])[list(SCORES)].mean()
    fitted = [1.0] * 4
    if training is not None:
        every = sounds_below(training)[0]
        few = [load_audio(path, FEW) for path in every[:: max(1, len(every) // FEW)][:FEW]]
        fitted = fit_quarters(few, pipe)
    return {
        "clips": len(clips),
        "with_pesq": int(grid.loc[grid["setting"] == "AudioLDM2", "pesq_wb"].notna().sum()),
        "seconds": max_length,
        "settings": means.set_index("setting")[[*SCORES, "values_per_second"]].to_dict("index"),
        "several": several_windows(clips),
        "ways": {f"{m}, {'VAE' if v else 'mel'}": dict(r) for (v, m), r in ways.iterrows()},
        "fitted": fitted,
        "contrast": {
            f"{method}, {'VAE' if vae else 'mel'}":
            score_changes(method, contrasts(fitted), through_vae=vae, **options).to_dict("index")
            for method in METHODS for vae in (False, True)
        },
        "damage": {
            method: score_changes(
                method, {k: f for k, f in DAMAGED.items() if k != "transposed"}, **options
            ).to_dict("index")
            for method in METHODS
        },
        "diagnosis": diagnoses([load_audio(path) for path in files], pipe),
    }  # fmt: skip


# ------------------------------------------------------------------ the page


def directions(n: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Rows of the first table, the largest gain in PESQ first."""
    settings, ways, to = n["settings"], n["ways"], "--output table.parquet"
    sweep, compare = "vaerecon sweep clips/", "vaerecon compare clips/ --methods"
    base = settings["AudioLDM2"]
    best = settings["n_fft=768 n_mels=128"]
    mel, behind = (n["contrast"][f"griffinlim, {place}"] for place in ("mel", "VAE"))
    clips = "python -m benchmarks.directions clips/"
    rows = {  # before, after, and the command that shows it
        "window": (base, settings["n_fft=768"], f"{sweep} --vary n_fft=512,768 {to}"),
        "bins": (base, best, f"{sweep} --vary n_fft=768 --vary n_mels=96,128 --joint {to}"),
        "several_windows": (base, n["several"], clips),
        "contrast_vae": (behind["as it is"], behind["contrast 1.1"], clips),
        "contrast_mel": (mel["as it is"], mel["contrast 1.1"], clips),
        "hybrid": (ways["vocoder, VAE"], ways["hybrid, VAE"], f"{compare} vocoder,hybrid {to}"),
        "fast": (ways["griffinlim, VAE"], ways["fast, VAE"], f"{compare} fast,griffinlim {to}"),
    }
    found = []
    for name, (before, after, command) in rows.items():
        gain = after["pesq_wb"] - before["pesq_wb"]
        scores = " | ".join(f"{before[k]:.{d}f} → {after[k]:.{d}f}" for k, d in SHOWN.items())
        found.append((gain, f"{words[name]} | {gain:+.2f} | {scores} | `{command}` |"))
    ordered = sorted(found, key=lambda row: -row[0])
    return [f"| {rank} | {line}" for rank, (_, line) in enumerate(ordered, 1)]


def page(n: dict[str, Any], language: str) -> str:
    """``docs/directions.md`` in English (``en``) or Chinese (``zh``)."""
    t = yaml.safe_load(WORDS.read_text(encoding="utf-8"))[language]
    line = "|---" * (4 + len(SHOWN)) + "|"
    kept = {}
    for name in ("05_fine_tuning", "07_compression"):
        text = (ROOT / "tests" / "baselines" / f"{name}.json").read_text(encoding="utf-8")
        kept |= {key: entry["value"] for key, entry in json.loads(text)["metrics"].items()}
    head = [t["head"].format(heads=HEADS), line]
    windows = ", ".join(str(window) for window, _, _ in WINDOWS)
    mels = {**n["settings"], f"n_fft={windows}": n["several"]}
    mels = dict(sorted(mels.items(), key=lambda item: item[1]["values_per_second"]))
    values = {name: f"{row['values_per_second']:.0f}" for name, row in mels.items()}
    fitted = ", ".join(f"{factor:g}" for factor in n["fitted"])
    parts = [t["title"], t["other"], t["intro"].format(**n),
             "\n".join(head + directions(n, t["rows"])),
             t["rest"].format(**kept), t["mels"], t["mels_text"],
             scores_table(mels, t["setting"], {"values/s": values}), t["contrast"],
             t["contrast_text"].format(fitted=fitted)]  # fmt: skip
    for name, table in n["contrast"].items():
        method, _, place = name.partition(", ")
        where = t["from_mel" if place == "mel" else "from_vae"]
        parts += [f"`{method}`, {where}:", scores_table(table, t["rule"])]
    parts += [t["damage"], t["damage_text"]]
    for method, table in n["damage"].items():
        parts += [f"`{method}`:", scores_table(table, t["change"])]
    found = [f"| {name} | {a} | {b} |" for name, (a, b) in n["diagnosis"].items()]
    found = [t["diagnosis_head"], "|---" * 3 + "|", *found]
    parts += [t["diagnosis"], t["diagnosis_text"], "\n".join(found)]
    return "\n\n".join(parts) + "\n"


def scores_table(
    table: dict[str, dict[str, float]], head: str, more: dict[str, dict[str, str]] | None = None
) -> str:
    """Markdown, one row a key."""
    extra = more or {}
    lines = [f"| {' | '.join((head, *extra, HEADS))} |"]
    lines.append("|---" * (1 + len(extra) + len(SHOWN)) + "|")
    for name, row in table.items():
        cells = [column[name] for column in extra.values()]
        cells += [f"{row[key]:.{decimals}f}" for key, decimals in SHOWN.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command(help=(__doc__ or "").split("\n")[0])
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--training", type=click.Path(exists=True, path_type=Path), help="Training audio.")
@click.option("--max-length", default=4.0, show_default=True, help="Seconds of each clip.")
def main(folder: Path | None, training: Path | None, max_length: float) -> None:
    """Measure, if there are clips, and write the pages."""
    if folder is not None:
        numbers = measure(folder, training, max_length)
        NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    for language, path in PAGES.items():
        path.write_text(page(numbers, language), encoding="utf-8")
        click.echo(f"Written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    run_command(main)
