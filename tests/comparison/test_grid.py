"""Settings of the mel x clips: compare's numbers at AudioLDM2's setting, and nothing lost."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from helpers import in_process
from helpers.sounds import make_sound

import vaerecon as vr
from vaerecon.comparison.grid import mean_settings, mel_grid, pareto_front, setting_text, sweep
from vaerecon.comparison.journal import journal_path
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.methods import METHODS, get_method, method
from vaerecon.metrics.scores import METRICS
from vaerecon.plots import plot_front

SLOW = ("pesq_wb", "stoi", "estoi", "visqol")
CLOCK = ["seconds", "real_time_factor"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sounds and a file that is none."""
    path = tmp_path_factory.mktemp("sounds")
    for i in range(2):
        sf.write(path / f"{i}.wav", make_sound(0.3 + 0.1 * i, seed=i), 16000)
    (path / "broken.wav").touch()
    return path


@pytest.fixture(scope="module")
def measured(folder):
    """What makes the same table by so many processes."""
    vary = {"n_fft": [512, 1024], "n_mels": [400]}
    return partial(vr.sweep, folder, vary, "griffinlim,silence", exclude_metrics=SLOW)


@pytest.fixture(scope="module")
def table(measured):
    return measured(workers=1)


def test_audioldm2_s_setting_has_the_rows_of_compare_bit_for_bit(folder, table):
    expected = vr.compare(folder, methods="griffinlim", exclude_metrics=SLOW, workers=1)
    expected = expected[~expected["through_vae"].fillna(False)].reset_index(drop=True)
    found = table[(table["setting"] == "AudioLDM2") | table["method"].isna()]
    columns = [c for c in expected if c in found and c not in CLOCK]
    assert {"file", "method", "lsd_db", "gain", "sha256", "notes", "error"} <= set(columns)
    pd.testing.assert_frame_equal(
        found[columns].reset_index(drop=True), expected[columns], check_exact=True
    )
    assert (found["own_log_mel_mae"].dropna() == found["log_mel_mae"].dropna()).all()


def test_a_row_says_its_setting_and_both_errors_of_the_mel(table):
    row = table[(table["setting"] == "n_fft=512") & (table["method"] == "griffinlim")].iloc[0]
    assert (row["n_fft"], row["n_mels"], row["hop_length"]) == (512, 64, 160)
    assert row["values_per_second"] == 6400
    assert row["own_log_mel_mae"] != row["log_mel_mae"]
    fine = table[table["setting"] == "n_mels=400"]
    assert (fine["values_per_second"] == 40000).all()
    assert fine["notes"].str.contains("of 400 mel filters see no frequency").all()
    assert table["error"].notna().sum() == 1  # the broken file, once


def test_one_setting_at_a_time_or_all_combinations():
    vary = {"n_fft": [512, 1024], "hop_length": [80, 160, 320]}
    single = [setting_text(config) for config in mel_grid(vary)]
    assert single == ["AudioLDM2", "n_fft=512", "hop_length=80", "hop_length=320"]
    joint = mel_grid(vary, joint=True)
    assert joint[0] == AUDIOLDM_MEL
    pairs = {(config.n_fft, config.hop_length) for config in joint}
    assert pairs == set(product(vary["n_fft"], vary["hop_length"]))
    assert all(config.win_length == config.n_fft for config in joint)


@pytest.mark.parametrize(
    ("vary", "methods", "message"),
    [
        ({"hop": [80]}, "griffinlim", "vary: got 'hop', expected one of n_fft"),
        ({"n_mels": [64.5]}, "griffinlim", "n_mels = 64.5, expected whole numbers"),
        ({"fmax": ["high"]}, "griffinlim", "fmax = 'high', expected numbers"),
        ({"hop_length": [161]}, "griffinlim", "take an even hop"),
        ({"fmax": [9000]}, "griffinlim", "within 0 to 8000 Hz"),
        ({"floor": [0]}, "griffinlim", "floor: got 0.0"),
        ({"n_fft": [512]}, "griffinlim,fast,vocoder", "methods: got fast, vocoder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(folder, vary, methods, message):
    with pytest.raises(ValueError, match=message):
        vr.sweep(folder, vary, methods)


def test_the_front_is_what_nothing_beats():
    rng = np.random.default_rng(0)
    for metric in ("pesq_wb", "lsd_db"):
        means = pd.DataFrame({"values_per_second": rng.integers(1, 9, 40), metric: rng.random(40)})
        means.loc[0, metric] = np.nan
        front = pareto_front(means, metric)
        sign = METRICS[metric].sign

        def beats(one, other, metric=metric, sign=sign):
            gain = sign * (one[metric] - other[metric])
            saved = other["values_per_second"] - one["values_per_second"]
            return gain >= 0 and saved >= 0 and (gain > 0 or saved > 0)

        rows = means.dropna().to_dict("records")
        undominated = [r for r in rows if not any(beats(o, r) for o in rows)]
        assert front.to_dict("records") == sorted(undominated, key=lambda r: r["values_per_second"])


def test_the_front_is_drawn_with_its_names(table):
    means = mean_settings(table)
    assert list(means["clips"]) == [2] * 6
    front = pareto_front(table, "log_mel_mae")
    _, ax = plot_front(means, front, "log_mel_mae")
    assert list(ax.lines[0].get_xdata()) == list(front["values_per_second"])
    assert [text.get_text() for text in ax.texts] == list(front["setting"])


def test_a_run_that_was_cut_short_goes_on(folder, tmp_path):
    """The clip that is in the journal is not measured again."""
    plain, calls = get_method("griffinlim").function, []

    @method("cut_short", "Cut short", "for this test", needs=("config",))
    def cut_short(log_mel, n_samples, generator, *, config):
        calls.append(n_samples)
        if len(calls) == 6:  # warm-up and sound for two settings of one clip are 4
            raise KeyboardInterrupt
        return plain(log_mel, n_samples, generator, config=config)

    output = tmp_path / "sweep.csv"
    options = {"exclude_metrics": SLOW, "workers": 1}
    try:
        with pytest.raises(KeyboardInterrupt):
            sweep(folder, {"n_fft": [512]}, "cut_short", output=output, **options)
        assert journal_path(output).exists()
        with pytest.raises(ValueError, match="resume"):
            sweep(folder, {"n_fft": [768]}, "cut_short", output=output, resume=True, **options)
        before = len(calls)
        table = sweep(folder, {"n_fft": [512]}, "cut_short", output=output, resume=True, **options)
        assert len(calls) - before == 4
    finally:
        del METHODS["cut_short"]
    assert output.exists()
    assert not journal_path(output).exists()
    whole = sweep(folder, {"n_fft": [512]}, **options)
    drop = ["method", *CLOCK]
    pd.testing.assert_frame_equal(table.drop(columns=drop), whole.drop(columns=drop))


def test_the_command_prints_the_means_and_writes_the_table(folder, tmp_path):
    arguments = ["--vary", "n_fft=512,768", "--vary", "n_mels=80", "--joint", "--workers", 1]
    for name in SLOW[:3]:
        arguments += ["--exclude-metric", name.replace("_", "-")]
    done = in_process.run("sweep", folder, *arguments, "--output", "a.parquet", cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert "Means over 2 clips" in done.stdout
    assert "n_fft=768 n_mels=80" in done.stdout
    assert "1 failed:" in done.stdout
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 7
    quick = ["--max-length", 0.2, *arguments[-8:]]  # no processes, quick metrics
    done = in_process.run("sweep", folder, "--vary", "n_fft=512", *quick, cwd=tmp_path)
    assert done.status == 0, done.stderr  # without a file: the means alone
    assert "n_fft=512" in done.stdout
    assert "Written" not in done.stdout
    for wrong in ("n_fft", "n_fft=high", "hop=80"):
        done = in_process.run("sweep", folder, "--vary", wrong, "--output", "b.csv", cwd=tmp_path)
        assert done.status == 2
        assert "expected" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.process
def test_worker_processes_give_the_same_numbers(measured, table):
    found = measured(workers=2)
    pd.testing.assert_frame_equal(
        found.drop(columns=CLOCK), table.drop(columns=CLOCK), check_exact=True
    )
