"""Windows: planned without gaps, joined exactly, shorter when memory runs out; and seams of sounds
that agree and that do not."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.sounds import make_sound
from hypothesis import given
from hypothesis import strategies as st

from vaerecon.audio.samples import normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.phase.retrieval import griffin_lim, mel_to_magnitude
from vaerecon.pipeline.joins import sound_join
from vaerecon.utils.windows import WindowPlan, crossfade, overlap_windows, plan_windows, split

PLAN = WindowPlan(longest=40, overlap=8, fade=2, rate=100.0)


def windows(length: int, plan: WindowPlan) -> list[tuple[int, int]]:
    found, start = [], 0
    while True:
        stop = plan.stop(start, length)
        found.append((start, stop))
        if stop == length:
            return found
        start = stop - plan.overlap


@given(length=st.integers(1, 2000), longest=st.integers(32, 300))
def test_windows_cover_all_and_none_is_short(length, longest):
    plan = WindowPlan(longest, overlap=8, fade=2, rate=1.0)
    found = windows(length, plan)
    assert found[0][0] == 0
    assert found[-1][1] == length
    for (_, stop), (start, _) in itertools.pairwise(found):
        assert stop - start == plan.overlap
    sizes = [stop - start for start, stop in found]
    assert max(sizes) <= longest
    if len(sizes) > 1:
        assert min(sizes) >= longest // 2
    assert len(sizes) == 1 or length > longest


@given(length=st.integers(1, 500), longest=st.integers(1, 60))
def test_spans_are_the_same_without_an_overlap(length, longest):
    found = list(split(length, longest))
    assert [i for a, b in found for i in range(a, b)] == list(range(length))
    assert all(0 < b - a <= longest for a, b in found)
    assert len(found) == 1 or min(b - a for a, b in found) >= longest // 2


@pytest.mark.parametrize("length", [1, 39, 40, 41, 72, 73, 100, 237])
@pytest.mark.parametrize(("unit", "axis"), [(1, -1), (3, -2)])
def test_what_does_not_depend_on_the_window_comes_back_exactly(length, unit, axis):
    values = torch.randn(2, length * unit, generator=torch.Generator().manual_seed(0))
    source = values if axis == -1 else values[..., None].expand(-1, -1, 5)

    def compute(start, stop):
        return source.narrow(axis, start * unit, (stop - start) * unit)

    pieces = list(overlap_windows(length, compute, PLAN, unit=unit, axis=axis))
    assert torch.equal(torch.cat(pieces, axis), source)


def test_the_middle_of_an_overlap_belongs_to_both_and_its_ends_to_one():
    plan = WindowPlan(40, 8, 2, 1.0)
    joined = crossfade(plan)(torch.zeros(8), torch.ones(8))
    assert joined.tolist() == [0, 0, 0, 0.25, 0.75, 1, 1, 1]


def test_a_window_knows_nothing_that_the_one_before_did():
    """Each window gives its own number: what comes out says who answered where."""
    calls = []

    def compute(start, stop):
        calls.append((start, stop))
        return torch.full((stop - start,), float(len(calls)))

    out = torch.cat(list(overlap_windows(100, compute, PLAN)))
    assert calls == windows(100, PLAN)
    assert len(calls) > 2
    for i, (start, stop) in enumerate(calls[1:-1], start=2):
        inner = slice(start + PLAN.overlap, stop - PLAN.overlap)
        assert (out[inner] == i).all()


def test_too_short_windows_are_refused():
    with pytest.raises(ValueError, match=r"chunk_seconds: got 5, expected at least 8"):
        plan_windows(5, 100)
    with pytest.raises(ValueError, match=r"expected at least 32"):
        WindowPlan(31, 8, 2, 100.0)


# ---- out of memory (injected where a GPU would raise it)


def scarce(room: int):
    """A computation that fails in windows of more than ``room``, and the windows that it met."""
    values, met = torch.arange(1000.0), []

    def compute(start, stop):
        met.append(stop - start)
        if stop - start > room:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return values[start:stop]

    return values, met, compute


def test_out_of_memory_goes_on_in_shorter_windows_and_says_so():
    values, met, compute = scarce(room=60)
    plan = WindowPlan(200, 8, 2, rate=10.0)
    with pytest.warns(UserWarning, match=r"stage: out of memory") as caught:
        out = torch.cat(list(overlap_windows(1000, compute, plan, stage="stage")))
    assert torch.equal(out, values)
    assert met[:3] == [200, 100, 50]
    assert max(met[2:]) == 50  # and does not try the long ones again
    assert len(caught) == 2
    assert "--chunk-seconds 10" in str(caught[0].message)
    assert "chunk_seconds=5 " in str(caught[1].message)


def test_out_of_memory_in_a_clip_of_one_window():
    values, met, compute = scarce(room=60)
    with pytest.warns(UserWarning, match="out of memory"):
        out = torch.cat(list(overlap_windows(100, compute, WindowPlan(200, 8, 2, 10.0))))
    assert torch.equal(out, values[:100])
    assert met[:2] == [100, 50]


def test_out_of_memory_in_the_middle_keeps_what_was_done():
    values, compute_room = torch.arange(1000.0), [1000]

    def compute(start, stop):
        if start > 500:
            compute_room[0] = 70
        if stop - start > compute_room[0]:
            raise torch.OutOfMemoryError("injected")
        return values[start:stop]

    with pytest.warns(UserWarning, match="out of memory"):
        out = torch.cat(list(overlap_windows(1000, compute, WindowPlan(200, 8, 2, 10.0))))
    assert torch.equal(out, values)


def test_no_room_at_all_is_an_error_with_the_ways_out():
    _, _, compute = scarce(room=3)
    with (
        pytest.warns(UserWarning, match="out of memory"),
        pytest.raises(ValueError, match=r"stage: out of memory with 3.2 s.*--device cpu"),
    ):
        list(overlap_windows(1000, compute, WindowPlan(200, 8, 2, rate=10.0), stage="stage"))


# ---- seams of sounds

SECONDS = WindowPlan(longest=200, overlap=50, fade=14, rate=100.0)  # frames; quicker than 8 s


def test_sounds_that_agree_are_cross_faded_and_no_more():
    x = torch.from_numpy(make_sound(4.0))

    def compute(start, stop):
        return x[160 * start : 160 * stop]

    join = sound_join(SECONDS, 160)
    out = torch.cat(list(overlap_windows(400, compute, SECONDS, unit=160, join=join)))
    assert torch.equal(out, x)


def test_sounds_with_other_phases_meet_without_a_seam():
    """Griffin-Lim with another start in every window: the mel error at the seams stays that of the
    rest, where a plain cross-fade leaves a multiple of it; and no sample jumps."""
    x = normalize_level(make_sound(6.0))[0]
    mel = log_mel(x, normalize=False)

    def compute(start, stop):
        own = mel[start:stop]
        generator = torch.Generator().manual_seed(start)
        n_samples = 160 * (stop - start)
        magnitude = mel_to_magnitude(own)
        return griffin_lim(magnitude, n_samples, log_mel=own, n_iter=16, generator=generator)

    seam = torch.zeros(len(mel), dtype=torch.bool)
    for start, _ in windows(len(mel), SECONDS)[1:]:
        first = start + SECONDS.margin - 4  # an STFT window sees four frames beyond
        seam[first : first + SECONDS.fade + 8] = True
    errors = {}
    for name, join in (("mended", sound_join(SECONDS, 160)), ("faded", None)):
        out = torch.cat(list(overlap_windows(len(mel), compute, SECONDS, unit=160, join=join)))
        assert out.shape == x.shape
        heard = log_mel(out, normalize=False)
        error = (heard - mel).abs().mean(dim=-1)
        errors[name] = float(error[seam].mean() / error[~seam].mean())
        flux = heard.diff(dim=0).abs().mean(dim=-1), mel.diff(dim=0).abs().mean(dim=-1)
        if name == "mended":
            # steps from frame to frame as in the sound itself, there as elsewhere
            ratio = [float(flux[0][s].mean() / flux[1][s].mean()) for s in (seam[1:], ~seam[1:])]
            assert ratio[0] == pytest.approx(ratio[1], rel=0.1)
            assert out.diff().abs().max() < 1.5 * x.diff().abs().max()
    assert errors["mended"] < 1.3  # of one sound and three seams: 0.9 to 1.1 over twelve clips
    assert errors["faded"] > 1.5


@pytest.mark.parametrize(("level", "mended"), [(-25, False), (-15, True)])
def test_sounds_agree_if_their_difference_is_20_db_below_them(level, mended):
    generator = torch.Generator().manual_seed(0)
    one, noise = torch.randn(2, SECONDS.overlap * 160, generator=generator) * 0.1
    other = one + 10 ** (level / 20) * noise
    faded = crossfade(SECONDS, 160)(one, other)
    assert torch.equal(sound_join(SECONDS, 160)(one, other), faded) != mended


def test_the_ends_of_an_overlap_are_the_windows_own():
    generator = torch.Generator().manual_seed(0)
    pair = torch.randn(2, SECONDS.overlap * 160, generator=generator) * 0.1
    joined = sound_join(SECONDS, 160)(*pair)
    edge = SECONDS.margin * 160 // 4
    assert torch.equal(joined[:edge], pair[0, :edge])
    torch.testing.assert_close(joined[-edge:], pair[1, -edge:], atol=1e-6, rtol=0)


def test_silence_meets_silence():
    joined = sound_join(SECONDS, 160)(*torch.zeros(2, SECONDS.overlap * 160))
    assert torch.equal(joined, torch.zeros(SECONDS.overlap * 160))


def test_the_margin_is_more_than_the_models_see():
    """Else the cross-fades would mix in what a window's own end spoils."""
    from vaerecon.models.vocoder import receptive_field

    class Vocoder:  # AudioLDM2's
        class config:
            upsample_rates = (5, 4, 2, 2, 2)
            upsample_kernel_sizes = (16, 16, 8, 4, 4)
            resblock_kernel_sizes = (3, 7, 11)
            resblock_dilation_sizes = ((1, 3, 5),) * 3

    plan = plan_windows(30, AUDIOLDM_MEL.frames_per_second)
    assert receptive_field(Vocoder) == 23
    assert plan.margin > receptive_field(Vocoder)
