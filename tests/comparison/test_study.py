"""``compare`` as a study: several models, kept sounds, domains, datasets, a second call."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from helpers import in_process
from helpers.sounds import make_sound

import vaerecon as vr
from vaerecon.comparison import measure as measuring
from vaerecon.comparison.clips import find_clips, with_places
from vaerecon.comparison.journal import journal_path
from vaerecon.comparison.table import summarize
from vaerecon.models.sources import resolve

SLOW = ("pesq_wb", "stoi", "estoi", "visqol")
QUICK = {"methods": "griffinlim", "exclude_metrics": SLOW}
QUICK_OPTIONS = ["--methods", "griffinlim", "--workers", "1"]
QUICK_OPTIONS += [part for name in SLOW for part in ("--exclude-metric", name.replace("_", "-"))]
CLOCK = ["seconds", "real_time_factor"]


def write(path: Path, seconds: float = 0.3, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, make_sound(seconds, seed), 16000)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two domains, strange names, two clips that differ in suffix only, and an empty file."""
    path = tmp_path_factory.mktemp("study") / "clips"
    write(path / "sp eech" / "a 1.wav", 0.3, 1)
    write(path / "müsik" / "b.wav", 0.35, 2)
    write(path / "müsik" / "b.flac", 0.4, 3)
    (path / "broken.wav").touch()
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory, folder) -> list[str]:
    """The bundled one, and another whose VAE has other weights."""
    other = tmp_path_factory.mktemp("models") / "mine"
    shutil.copytree(resolve("tiny").folder, other)
    pipe = vr.ReconstructionPipeline.from_pretrained(str(other))
    for weight in pipe.vae.parameters():
        weight.data.mul_(0.97)
    pipe.vae.save_pretrained(other / "vae")
    return ["tiny", str(other)]


@pytest.fixture(scope="module")
def table(folder) -> pd.DataFrame:
    return vr.compare(folder, workers=1, **QUICK)


@pytest.fixture(scope="module")
def both(folder, models) -> pd.DataFrame:
    """By two models."""
    return vr.compare(folder, model=models, workers=1, **QUICK)


def without(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table.drop(columns=[*CLOCK, *columns]).reset_index(drop=True)


# --- several models -------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_model_has_the_rows_that_it_has_alone(folder, models, table, both):
    assert list(both["model"].unique()) == ["tiny", "mine"]
    for model, name in zip(models, ("tiny", "mine"), strict=True):
        alone = table if name == "tiny" else vr.compare(folder, model, workers=1, **QUICK)
        found = both[both["model"] == name]
        pd.testing.assert_frame_equal(without(found), without(alone), check_exact=True)
    means = both[both["method"] == "griffinlim"].groupby(["model", "through_vae"])["lsd_db"].mean()
    assert means["tiny", True] != means["mine", True]
    assert means["tiny", False] == means["mine", False]
    assert both.attrs["model"] == ["tiny", "mine"]


@pytest.mark.slow
def test_a_model_is_freed_before_the_next_is_loaded(models, monkeypatch):
    """So that memory is that of the largest."""
    settings = [
        measuring.Settings(
            model=model, revision=None, device="cpu", dtype="auto", methods=("silence",),
            max_length=None, without_vae=True, seed=0, metrics=(), exclude_metrics=(), threads=1,
        )
        for model in models
    ]  # fmt: skip
    first = weakref.ref(measuring._pipeline(settings[0]))
    assert measuring._pipeline(settings[0]) is first()
    alive_at_load = []
    load = vr.ReconstructionPipeline.from_pretrained

    def watched(*args, **options):
        alive_at_load.append(first() is not None)
        return load(*args, **options)

    gc.disable()
    try:
        monkeypatch.setattr(vr.ReconstructionPipeline, "from_pretrained", watched)
        assert measuring._pipeline(settings[1]).source == "mine"
    finally:
        gc.enable()
    assert alive_at_load == [False]


@pytest.mark.slow
def test_models_of_the_same_name_are_told_apart_and_the_same_one_is_taken_once(tmp_path, models):
    for name in ("one", "two"):
        shutil.copytree(models[1], tmp_path / name / "mine")
    clip = write(tmp_path / "x.wav")
    given = ["tiny", tmp_path / "one" / "mine", tmp_path / "two" / "mine", "tiny"]
    table = vr.compare(clip, given, "silence", exclude_metrics=SLOW, workers=1)
    assert list(table["model"].unique()) == ["tiny", "one/mine", "two/mine"]


@pytest.mark.slow
def test_a_run_of_two_models_goes_on_in_the_second(folder, models, both, tmp_path, monkeypatch):
    """What the first has done is not done again; another list of models is refused."""
    output = tmp_path / "t.parquet"
    real = measuring._reconstruct
    done = []

    def stops(file, settings, pipe):
        if settings.name == "mine" and len(done) == 5:
            raise KeyboardInterrupt
        done.append((settings.name, file.key))
        return real(file, settings, pipe)

    monkeypatch.setattr(measuring, "_reconstruct", stops)
    with pytest.raises(KeyboardInterrupt):
        vr.compare(folder, models, output=output, workers=1, **QUICK)
    assert journal_path(output).exists()
    with pytest.raises(ValueError, match=r"model was \['tiny', 'mine'\], now 'tiny'"):
        vr.compare(folder, output=output, resume=True, workers=1, **QUICK)
    before, again = list(done), []
    monkeypatch.setattr(measuring, "_reconstruct", lambda *a: again.append(a[0].key) or real(*a))
    found = vr.compare(folder, models, output=output, resume=True, workers=1, **QUICK)
    assert len(again) + len(before) == 8
    pd.testing.assert_frame_equal(without(found), without(both), check_exact=True)


@pytest.mark.slow
def test_the_command_shows_each_model_and_domain(folder, models, tmp_path):
    args = ["compare", folder, "--output", "t.csv", "--by", "domain", *QUICK_OPTIONS]
    for model in models:
        args += ["--model", model]
    done = in_process.run(*args, cwd=tmp_path)
    assert done.status == 0, done.stderr
    for title in ("model tiny, domain sp eech (1 clip: too few for intervals, which need 3)",
                  "model mine, domain müsik (2 clips: too few for intervals"):  # fmt: skip
        assert title in done.stdout
    assert done.stdout.count("Recommended: ") == 4
    assert "3 of 4 clips measured" in done.stdout
    assert "1 failed:" in done.stdout
    assert done.stdout.count("broken.wav: got") == 1


# --- sounds that are kept -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(folder, table, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """The same by two worker processes, clips in the reverse order, and sounds; moved since."""
    place = tmp_path_factory.mktemp("kept") / "a b"
    files = [folder / name for name in reversed(table["file"].unique())]
    found = vr.compare(files, workers=2, output=place / "t.parquet",
                       keep_sounds=place / "söunds", codecs="opus:16", **QUICK)  # fmt: skip
    return place.rename(place.with_name("moved")), found


@pytest.mark.process
def test_two_processes_give_the_same_bits_and_the_file_holds_them(kept, table):
    place, found = kept
    assert list(found["file"].unique()) == list(reversed(table["file"].unique()))
    rows = found[~found["method"].isin(["opus:16"])].sort_values("file", kind="stable")
    expected = table.sort_values("file", kind="stable")
    pd.testing.assert_frame_equal(without(rows, "sound"), without(expected, "sound"),
                                  check_exact=True)  # fmt: skip
    read = pd.read_parquet(place / "t.parquet")
    pd.testing.assert_frame_equal(read, found)
    assert read.attrs == json.loads(json.dumps(found.attrs))
    assert read.attrs["methods"] == ["griffinlim"]
    assert sorted(p.name for p in place.iterdir()) == ["söunds", "t.parquet"]


@pytest.mark.process
def test_kept_sounds_are_those_that_were_measured_and_the_table_says_where(kept):
    """By worker processes; table and sounds can be moved together."""
    moved, found = kept
    files = {
        p.relative_to(moved / "söunds").as_posix() for p in moved.rglob("*.wav") if p.is_file()
    }
    names = ("griffinlim_reconstruction", "griffinlim_without_vae", "opus_16_without_vae",
             "original")  # fmt: skip
    assert files == {
        f"{place}/{stem}_{name}.wav"
        for place, stem in (("sp eech/a 1", "a 1"), ("müsik/b.wav", "b"), ("müsik/b.flac", "b"))
        for name in names
    }
    assert found["sound"].notna().sum() == 3 * 3  # silence has none, nor has the broken file
    for _, row in found.dropna(subset="sound").iterrows():
        path = moved / row["sound"]
        sound, original = (
            sf.read(p, dtype="float32")[0] for p in (path, next(path.parent.glob("*_original.wav")))
        )
        scores = vr.metrics.evaluate(original, sound, metrics=["snr_db", "lsd_db"])
        assert scores["lsd_db"] == pytest.approx(row["lsd_db"], rel=1e-5)
        assert scores["snr_db"] == pytest.approx(row["snr_db"], abs=1e-3)


@pytest.mark.slow
def test_several_models_keep_their_sounds_apart(folder, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = folder / "sp eech" / "a 1.wav"
    found = vr.compare(clip, models, workers=1, keep_sounds="sounds", without_vae=False, **QUICK)
    sounds = [s for s in found["sound"] if isinstance(s, str)]
    name = "a 1/a 1_griffinlim_reconstruction.wav"
    assert sounds == [f"sounds/tiny/{name}", f"sounds/mine/{name}"]
    assert Path(sounds[0]).read_bytes() != Path(sounds[1]).read_bytes()


@pytest.mark.slow
def test_a_long_clip_keeps_the_same_sounds_by_the_road_through_files(folder, tmp_path, monkeypatch):
    clip = folder / "sp eech" / "a 1.wav"
    kept = []
    for name, limit in (("short", 60), ("long", 0)):
        monkeypatch.setattr(measuring, "IN_MEMORY", limit)
        vr.compare(clip, methods="griffinlim,oracle_magnitude", exclude_metrics=SLOW, workers=1,
                   keep_sounds=tmp_path / name)  # fmt: skip
        found = sorted((tmp_path / name / "a 1").iterdir())
        kept.append({path.name: path.read_bytes() for path in found})
    assert kept[0] == kept[1]
    assert len(kept[0]) == 4  # the oracle's sound does not depend on the VAE


def test_another_run_replaces_a_clip_s_sounds_and_nothing_else(folder, tmp_path):
    clip, place = folder / "sp eech" / "a 1.wav", tmp_path / "s" / "a 1"
    vr.compare(clip, methods="librosa", exclude_metrics=SLOW, workers=1, keep_sounds=tmp_path / "s")
    (place / "notes.txt").write_text("mine")
    vr.compare(clip, workers=1, without_vae=False, keep_sounds=tmp_path / "s", **QUICK)
    assert sorted(p.name for p in place.iterdir()) == [
        "a 1_griffinlim_reconstruction.wav", "a 1_original.wav", "notes.txt",
    ]  # fmt: skip


def test_sounds_that_cannot_be_written_end_the_run_which_then_goes_on(
    folder, table, tmp_path, monkeypatch
):
    """It is not the fault of a clip, so no clip gets a row of failure for it."""
    output, sounds = tmp_path / "t.csv", tmp_path / "sounds"
    (sounds / "müsik").mkdir(parents=True)
    blocking = sounds / "müsik" / "b.wav"
    blocking.write_text("a file where a folder should be")
    args = ["compare", folder, "--output", output, "--keep-sounds", sounds, *QUICK_OPTIONS]
    done = in_process.run(*args, cwd=tmp_path)
    assert done.status == 2
    assert "error: keep_sounds: output folder: got 'b.wav', which is a file" in done.stderr
    assert "--resume goes on with it" in done.stderr
    assert not output.exists()
    before = {p: p.stat().st_mtime_ns for p in sounds.rglob("*.wav")}
    blocking.unlink()
    done = in_process.run(*args, "--resume", cwd=tmp_path)
    assert done.status == 0, done.stderr
    found = pd.read_csv(output)
    assert found["lsd_db"].tolist() == pytest.approx(table["lsd_db"].tolist(), nan_ok=True)
    del before[blocking]
    assert before
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert all((tmp_path / sound).is_file() for sound in found["sound"].dropna())


def test_clips_whose_names_differ_only_in_suffix_or_capitals_have_places_of_their_own(tmp_path):
    for name in ("a.wav", "a.flac", "A.mp3", "b.wav", "a/c.wav", "c.d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    places = {file.key: file.place for file in with_places(find_clips(tmp_path))}
    assert places == {"a.wav": "a.wav", "a.flac": "a.flac", "A.mp3": "A.mp3", "b.wav": "b",
                      "a/c.wav": "a/c", "c.d.wav": "c.d"}  # fmt: skip


def test_a_folder_where_a_clip_should_be_says_what_takes_folders(folder):
    done = in_process.run(folder, cwd=folder.parent)
    assert done.status == 2
    assert done.stderr.startswith("error: got the folder 'clips', expected a sound file")
    assert "vaerecon compare FOLDER --keep-sounds" in done.stderr


# --- domains --------------------------------------------------------------------------------------


def test_a_domain_is_the_name_of_the_folder_or_what_the_file_says(folder, table, tmp_path):
    domains = dict(zip(table["file"], table["domain"], strict=True))
    assert domains == {"broken.wav": "clips", "sp eech/a 1.wav": "sp eech",
                       "müsik/b.wav": "müsik", "müsik/b.flac": "müsik"}  # fmt: skip
    words = {file: f"kind {i}" for i, file in enumerate(domains)}
    rows = pd.DataFrame({"domain": words.values(), "file": words.keys(), "more": 1})
    rows.sample(frac=1, random_state=0).to_csv(tmp_path / "d.csv", index=False)
    found = vr.compare(folder, domains=tmp_path / "d.csv", workers=1, **QUICK)
    assert dict(zip(found["file"], found["domain"], strict=True)) == words


WRONG = {
    "another clip": ("file,domain\nx.wav,a\n", "'x.wav' which is not among the clips"),
    "no column": ("name,domain\nx.wav,a\n", "expected file and domain; file is missing"),
    "twice": ("file,domain\nbroken.wav,a\nbroken.wav,b\n", "'broken.wav' more than once"),
    "no word": ("file,domain\nbroken.wav, \n", "'broken.wav' without a domain"),
    "missing": ("file,domain\nbroken.wav,a\n", "and 2 more not, which is among the clips"),
    "nothing": ("", "cannot read 'd.csv'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_domains_that_do_not_fit_the_clips_are_refused(folder, tmp_path, case):
    text, message = WRONG[case]
    (tmp_path / "d.csv").write_text(text)
    args = ["compare", folder, "--output", "t.csv", "--domains", "d.csv", *QUICK_OPTIONS]
    done = in_process.run(*args, cwd=tmp_path)
    assert (done.status, message in done.stderr) == (2, True), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["d.csv"]


def test_intervals_of_the_summary_are_those_over_the_clips():
    from vaerecon.comparison.intervals import bootstrap_mean
    from vaerecon.metrics.scores import METRICS

    rng = np.random.default_rng(0)
    rows = [
        {"file": f"{i}.wav", "method": method, "through_vae": vae}
        | {name: rng.normal() for name in [*METRICS, *CLOCK]}
        for method in ("fast", "vocoder") for vae in (False, True) for i in range(8)
    ]  # fmt: skip
    table = pd.DataFrame(rows).astype({"through_vae": "boolean"})
    means = summarize(table, intervals=True)
    chosen = table[(table["method"] == "vocoder") & table["through_vae"]]
    expected = bootstrap_mean(chosen["lsd_db"])
    row = means.loc[(True, "vocoder"), "lsd_db"]
    assert (row["mean"], row["lower"], row["upper"], row["count"]) == pytest.approx(expected)


# --- a table that is finished ---------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "count"), [(".parquet", 1), (".csv", 2)])
@pytest.mark.slow
def test_resuming_a_finished_table_does_nothing_if_the_settings_are_the_same(
    folder, models, tmp_path, suffix, count
):
    args = ["compare", folder / "sp eech", folder / "broken.wav", "--output", f"t{suffix}",
            *QUICK_OPTIONS, "--codecs", "opus:16"]  # fmt: skip
    for model in models[:count]:
        args += ["--model", model]
    assert in_process.run(*args, cwd=tmp_path).status == 0
    before = (tmp_path / f"t{suffix}").stat()
    settings = tmp_path / f"t{suffix}.yaml"
    text = settings.read_text()
    settings.unlink()  # as if the run was killed before it wrote them
    again = in_process.run(*args, "--resume", cwd=tmp_path)
    assert again.status == 0, again.stderr
    assert settings.read_text() == text
    what = "all settings" if suffix == ".parquet" else "clips, methods, models and seed"
    assert f"Nothing to do: t{suffix} is complete; {what} are those asked for" in again.stdout
    assert (tmp_path / f"t{suffix}").stat().st_mtime_ns == before.st_mtime_ns
    for more, name in ((["--seed", "1"], "seed was 0, now 1"), (["--methods", "librosa"], "method"),
                       (["--max-clips", "1"], "clips")):  # fmt: skip
        other = in_process.run(*args, *more, "--resume", cwd=tmp_path)
        assert other.status == 2
        assert f"is complete and was made with others ({name}" in other.stderr
    assert settings.read_text() == text
    hidden = in_process.run(*args, "--max-length", "0.2", "--resume", cwd=tmp_path)
    assert hidden.status == (2 if suffix == ".parquet" else 0)  # a CSV file does not tell it
    assert (tmp_path / f"t{suffix}").stat().st_mtime_ns == before.st_mtime_ns


# --- Hugging Face datasets ------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, folder) -> Path:
    """A dataset on disk with a split of bytes and one of paths, and the same bytes as Parquet."""
    from datasets import Audio, Dataset, DatasetDict

    files = [folder / "sp eech" / "a 1.wav", folder / "müsik" / "b.flac"]
    stored = [{"path": None, "bytes": file.read_bytes()} for file in files]
    splits = {
        "test": Dataset.from_dict({"n": [0, 1], "sound": stored}),
        "paths": Dataset.from_dict({"n": [0, 1], "sound": list(map(str, files))}),
    }
    splits = {name: one.cast_column("sound", Audio(decode=False)) for name, one in splits.items()}
    (tmp_path / "parquet").mkdir()
    splits["test"].to_parquet(tmp_path / "parquet" / "test-0.parquet")
    DatasetDict(splits).save_to_disk(tmp_path / "my data")
    return tmp_path / "my data"


@pytest.mark.needs("datasets")
@pytest.mark.slow
def test_items_of_a_dataset_have_the_numbers_of_their_files(saved, folder, table, tmp_path):
    args = ["compare", "--column", "sound", *QUICK_OPTIONS]
    for name, dataset, split in (("bytes", saved, "test"), ("paths", saved, "paths"),
                                 ("streamed", tmp_path / "parquet", "test")):  # fmt: skip
        more = ["--dataset", dataset, "--split", split, "--output", f"{name}.parquet"]
        done = in_process.run(*args, *more, "--keep-sounds", f"sounds {name}", cwd=tmp_path)
        assert done.status == 0, done.stderr
        found = pd.read_parquet(tmp_path / f"{name}.parquet")
        expected = table[table["file"].isin(["sp eech/a 1.wav", "müsik/b.flac"])]
        expected = expected.sort_values("file", ascending=False, kind="stable")
        for column in ("lsd_db", "sha256"):
            assert found[column].tolist() == expected[column].tolist()
        keys = ["000000/a 1.wav", "000001/b.flac"] if name == "paths" else ["000000", "000001"]
        assert list(found["file"].unique()) == keys or name == "streamed"
        assert all((tmp_path / sound).is_file() for sound in found["sound"].dropna())
        assert str(tmp_path.parent) not in found.to_csv()


@pytest.mark.needs("datasets")
def test_a_dataset_in_python_resumes_and_is_cut_to_some_clips(saved, tmp_path):
    from datasets import load_from_disk

    data = load_from_disk(saved)["test"]
    options = {"column": "sound", "output": tmp_path / "t.parquet", "workers": 1, **QUICK}
    found = vr.compare(data, max_clips=1, **options)
    assert list(found["file"].unique()) == ["000000"]
    assert found["domain"].notna().all()
    again = vr.compare(data, max_clips=1, resume=True, **options)
    pd.testing.assert_frame_equal(again, found)


@pytest.mark.needs("datasets")
def test_what_is_no_dataset_is_refused_in_one_line(saved, folder, tmp_path):
    for args, message in (
        (["--dataset", saved], "column: got 'audio', expected one of the dataset's: "),
        (["--dataset", saved, "--split", "val"], "split: got 'val', expected one of test, paths"),
        (["--dataset", saved, "--column", "n"], "cannot take sounds from 'n'"),
        (["--dataset", folder, "--split", "train"], "give a folder of sound files as CLIPS"),
        ([folder, "--dataset", saved], "one of the two"),
        ([], "one of the two"),
    ):
        done = in_process.run("compare", *args, "--output", "t.csv", *QUICK_OPTIONS, cwd=tmp_path)
        assert (done.status, message in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "t.csv").exists()


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = in_process.run("compare", "--dataset", "x", "--output", "t.csv", cwd=tmp_path)
    assert done.status == 2
    assert "the package datasets is not installed: `pip install datasets`" in done.stderr
