"""The round trip's numbers, edits, pictures, explorers and exercises, on the bundled model."""

from __future__ import annotations

import datetime
import math
import tempfile

import ipywidgets as widgets
import pandas as pd
import pytest
import torch

from vaerecon.audio.clip import Clip, write_wav
from vaerecon.lab.nb02_vae_round_trip import plots
from vaerecon.lab.nb02_vae_round_trip import round_trip as rt
from vaerecon.lab.nb02_vae_round_trip import solutions as solutions_02
from vaerecon.lab.widgets import read_upload
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models.autoencoder import kl_nats

FLOOR = AUDIOLDM_MEL.log_floor


@pytest.fixture(scope="module")
def trip(tiny, clip) -> rt.RoundTrip:
    """One second of sound, through the bundled VAE."""
    return rt.round_trip(tiny, clip)


@pytest.fixture(scope="module")
def other(tiny, clip) -> rt.RoundTrip:
    """A shorter second clip, of a length that is no multiple of a latent position."""
    return rt.round_trip(tiny, Clip(clip.samples[9000:].copy(), 16000, "other"))


@pytest.fixture
def latent() -> torch.Tensor:
    """A random latent, ``[8, 6, 16]``."""
    return torch.randn(8, 6, 16, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------ there and back


def test_round_trip_is_the_pipelines(tiny, trip):
    assert trip.mel.shape == trip.decoded.shape == (100, 64)
    assert trip.mean.shape == trip.logvar.shape == (8, 25, 16)
    torch.testing.assert_close(trip.mean, tiny.encode(trip.mel), atol=0, rtol=0)
    torch.testing.assert_close(trip.decoded, tiny.decode(trip.mean, 100), atol=0, rtol=0)
    assert trip.mae == pytest.approx(float((trip.decoded - trip.mel).abs().mean()))


def test_statistics_of_the_prior_itself_cost_nothing():
    zeros = torch.zeros(8, 5, 16)
    table = rt.channel_statistics(zeros, zeros)
    assert table["sigma"].tolist() == [1.0] * 8
    assert table[["mean", "std", "kl", "information"]].abs().to_numpy().max() == 0


def test_a_fitted_prior_is_never_dearer(trip):
    table = rt.channel_statistics(trip.mean, trip.logvar)
    assert (table["information"] <= table["kl"] + 1e-6).all()  # equal but for rounding at worst
    assert (table["information"] >= 0).all()
    kl = float(kl_nats(trip.mean, trip.logvar))
    assert table["kl"].mean() == pytest.approx(kl, rel=1e-5)  # float32 sums in another order


def test_information_does_not_see_a_shift(latent):
    logvar = torch.full_like(latent, -2.0)
    here, there = (rt.channel_statistics(x, logvar) for x in (latent, latent + 3))
    # a variance around 3 loses about four of float32's seven digits to cancellation at worst
    assert there["information"].tolist() == pytest.approx(here["information"].tolist(), rel=1e-3)
    assert (there["kl"] > here["kl"] + 1).all()


def test_entropy():
    assert rt.entropy_bits(torch.arange(4).repeat(5)) == pytest.approx(2.0)
    assert rt.entropy_bits(torch.zeros(9)) == 0


def test_rounding_costs_fewer_bits_and_more_error(tiny, trip):
    curve = rt.rate_curve(tiny, trip, steps=(2.0, 0.5))
    for what in ("latent", "log-mel"):
        coarse, fine = (
            curve[(curve["what"] == what) & (curve["step"] == step)].iloc[0] for step in (2.0, 0.5)
        )
        assert coarse["kbit/s"] < fine["kbit/s"]
        assert coarse["error"] > fine["error"]
    # values spread evenly within a step are a quarter of it off; a sixteenth for what is uneven
    mel = curve[curve["what"] == "log-mel"].set_index("step")["error"]
    assert mel[0.5] == pytest.approx(0.125, abs=0.5 / 16)


# ------------------------------------------------------------------ where the error is


def test_synthesize_keeps_the_length(tiny, other):
    sounds = rt.synthesize(tiny, {"a": other.mel}, n_samples=len(other.samples))
    assert sounds["a"].shape == other.samples.shape == (7000,)


# ------------------------------------------------------------------ editing


def test_silence_channel(latent):
    before = latent.clone()
    zero = rt.silence_channel(latent, 3)
    still = rt.silence_channel(latent, 3, "mean")
    assert torch.equal(latent, before)
    assert not zero[3].any()
    torch.testing.assert_close(still[3].mean(dim=0), latent[3].mean(dim=0))
    assert torch.equal(still[3, 0], still[3, -1])
    others = [0, 1, 2, 4, 5, 6, 7]
    assert torch.equal(zero[others], latent[others])
    assert torch.equal(still[others], latent[others])


def test_walk_channel(latent):
    walked = rt.walk_channel(latent, 2, -1.5)
    torch.testing.assert_close(walked[2] - latent[2], (-1.5 * latent[2].std()).expand(6, 16))
    assert torch.equal(walked[[0, 1, 3]], latent[[0, 1, 3]])


@pytest.mark.parametrize("channel", [-1, 8])
def test_channels_that_are_not_there(latent, channel):
    with pytest.raises(ValueError, match="expected 0 to 7"):
        rt.walk_channel(latent, channel, 1.0)
    with pytest.raises(ValueError, match="expected 0 to 7"):
        rt.silence_channel(latent, channel)


def test_silence_in_no_known_way(latent):
    with pytest.raises(ValueError, match="'zero' or 'mean'"):
        rt.silence_channel(latent, 0, "median")


def test_interpolate(latent):
    longer = torch.cat([latent + 1, latent], dim=1)
    torch.testing.assert_close(rt.interpolate(latent, longer, 0.25), latent + 0.25)
    glide = rt.interpolate(longer, latent, torch.linspace(0, 1, 6))
    torch.testing.assert_close(glide[:, 0], longer[:, 0])
    torch.testing.assert_close(glide[:, -1], latent[:, -1])
    with pytest.raises(ValueError, match=r"got \[3\], expected a number or \[6\]"):
        rt.interpolate(latent, longer, torch.ones(3))


# ------------------------------------------------------------------ pictures


def _limits(axes) -> set[tuple[float, float]]:
    return {ax.images[0].get_clim() for ax in axes}


def test_what_is_compared_shares_its_limits(trip):
    _, axes = plots.plot_latent(trip.mean)
    assert len(_limits(axes.flat)) == 1
    _, axes = plots.plot_walk({-1.0: trip.decoded - 1, 0.0: trip.decoded, 1.0: trip.decoded + 1})
    assert len(_limits(axes[:3])) == 1


def test_curves_show_the_numbers(trip):
    by_level = pd.DataFrame({"mae": [0.3, 0.1], "bias": [0.2, -0.1]}, index=[-2.0, -1.0])
    figure, axes = plots.plot_errors(trip, by_level)
    mae, bias = next(ax for ax in axes if ax.get_title() == "by level").lines[:2]
    assert mae.get_ydata().tolist() == by_level["mae"].tolist()
    assert bias.get_ydata().tolist() == by_level["bias"].tolist()
    assert {ax.get_xlabel() for ax in axes} == {
        "frequency (Hz)",
        "time (s)",
        "level of the original (nepers below the loudest)",
    }
    figure.canvas.draw()


def test_every_picture_draws(tiny, other):
    statistics = rt.channel_statistics(other.mean, other.logvar)
    pictures = [
        plots.plot_rates({"a": rt.rate_curve(tiny, other, (1.0,)).iloc[:1].set_index("step")}),
        plots.plot_importance(statistics[["mean", "std"]], statistics["kl"], statistics["sigma"]),
    ]
    for figure, _ in pictures:
        figure.canvas.draw()
        assert all(ax.get_ylabel() for ax in figure.axes)


# ------------------------------------------------------------------ explorers


def _children(box, kind):
    found = [box] if isinstance(box, kind) else []
    for child in getattr(box, "children", ()):
        found += _children(child, kind)
    return found


def _described(box, text):
    return next(w for w in _children(box, object) if getattr(w, "description", None) == text)


def _upload(box, name, content):
    """Put a file into the upload button, as the browser does; return the button."""
    (button,) = _children(box, widgets.FileUpload)
    now = datetime.datetime.now(datetime.UTC)
    entry = {"name": name, "type": "audio/wav", "size": len(content), "last_modified": now}
    button.value = ({**entry, "content": memoryview(content)},)
    return button


def _parts(box):
    """Status line, picture, and the place for the player."""
    return box.children[1:]


@pytest.mark.slow
def test_latent_explorer_redraws_and_plays(tiny, trip, other):
    box = plots.explore_latent(tiny, trip, other)
    status, image, sound = _parts(box)
    first = image.value
    assert "data:image/png;base64,iVBOR" in first
    _described(box, "add (std)").value = 2.0
    second = image.value
    _described(box, "second clip").value = 0.5
    assert len({first, second, image.value}) == 3
    _described(box, "Listen").click()
    (player,) = sound.children
    assert player.labels == ["unedited", "edited"]
    heard = player.pcm
    _described(box, "add (std)").value = -2.0  # the sound goes with the picture
    assert sound.children == (player,)
    assert player.pcm != heard
    _described(box, "Listen").click()
    assert sound.children[0] is not player
    assert player.comm is None  # closed: nothing of the first one is kept
    assert status.value == ""


def test_own_clip_explorer_runs_an_upload(sound, tmp_path):
    write_wav(tmp_path / "mine.wav", sound)
    box = plots.explore_round_trip(max_length=0.5)
    status, image, place = _parts(box)
    upload = _upload(box, "mine.wav", (tmp_path / "mine.wav").read_bytes())
    _described(box, "Run").click()
    assert status.value == ""
    assert "data:image/png;base64,iVBOR" in image.value
    (player,) = place.children
    assert player.title == "mine, model tiny"
    assert player.labels == ["original", "griffinlim"]
    assert len(player.matched.tracks[0].samples) == 8000  # half a second
    _described(box, "or bundled").value = "demo_speech"
    assert upload.value == ()


@pytest.mark.process
def test_own_clip_explorer_says_what_is_wrong():
    box = plots.explore_round_trip(max_length=0.5)
    status, image, place = _parts(box)
    upload = _upload(box, "<b>notes</b>.wav", b"this is text")
    run = _described(box, "Run")
    run.click()
    assert "Not possible" in status.value
    assert "b&gt;.wav" in status.value  # the file's name, escaped
    assert tempfile.gettempdir() not in status.value
    assert not run.disabled
    assert image.layout.display == "none"
    assert place.children == ()
    upload.value = ()
    _described(box, "methods").value = ()
    run.click()
    assert "methods: got none" in status.value


def test_upload_takes_the_files_own_name(sound, tmp_path):
    write_wav(tmp_path / "x.wav", sound)
    content = (tmp_path / "x.wav").read_bytes()
    clip = read_upload("C:\\music\\my song.wav", content, 0.25)
    assert clip.name == "my song"
    assert len(clip.samples) == 4000
    with pytest.raises(ValueError, match=r"evil\.flac") as caught:
        read_upload("../../evil.flac", b"", None)
    assert "upload" not in str(caught.value)


def test_silence_is_refused_in_a_sentence():
    box = plots.explore_round_trip(max_length=0.5)
    _upload(box, "quiet.wav", _wav_bytes(torch.zeros(8000)))
    _described(box, "Run").click()
    assert "quiet.wav: got only silence, expected sound" in _parts(box)[0].value


def _wav_bytes(samples: torch.Tensor) -> bytes:
    import io

    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples.numpy(), 16000, format="WAV")
    return buffer.getvalue()


# ------------------------------------------------------------------ exercises


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("bits_per_second", lambda m, v, s: float(kl_nats(m, v)) * m.numel() / s, "nats"),
        ("bits_per_second", lambda m, v, s: solutions_02.bits_per_second(m, v, 1), "seconds"),
        ("bits_per_second", lambda m, v, s: float(kl_nats(m, v)) / math.log(2) / s, "one value"),
        ("bits_per_second", lambda m, v, s: 3.0, "factor"),
        ("keep_channels", lambda z, keep: z, "not zero"),
        ("keep_channels", lambda z, keep: z.mul_(0), "copy"),
        ("keep_channels", lambda z, keep: z[keep], "shape"),
        ("keep_channels", lambda z, keep: torch.zeros_like(z), "keep was changed"),
        ("pad_batch", lambda mels: torch.zeros(3, 9, 64), "multiple of 4"),
        ("pad_batch", lambda mels: torch.zeros(3, 12, 64), "loud"),
        ("pad_batch", lambda mels: torch.full((3, 12, 64), -4.0), "another value"),
        ("pad_batch", lambda mels: mels.missing, "stopped with an AttributeError"),
    ],
)
def test_mistakes_get_a_hint(name, answer, hint):
    answers = dict.fromkeys(solutions_02.CHECKS, lambda *_: None) | {name: answer}
    line = next(x for x in solutions_02.check_exercises(**answers).splitlines() if name in x)
    assert "not yet" in line
    assert hint in line
