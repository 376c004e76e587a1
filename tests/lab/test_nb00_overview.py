"""The overview: its diagram and pictures, and its exercises."""

from __future__ import annotations

import pytest
import torch

from vaerecon.lab.nb00_overview import plots, solutions


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_the_diagram_counts_what_it_is_given(seconds):
    n_samples, frames = round(16000 * seconds), round(100 * seconds)
    latent = (8, frames // 4, 16)
    _, ax = plots.plot_flow(n_samples, (frames, 64), latent, seconds)
    boxes = [text.get_text() for text in ax.texts if "values/s" in text.get_text()]
    per_second = 8 * 16 * latent[1] / seconds
    assert boxes == [
        f"samples\n[{n_samples}]\n16,000 values/s",
        f"log-mel\n[{frames}, 64]\n6,400 values/s",
        f"latent\n[8, {latent[1]}, 16]\n{per_second:,.0f} values/s",
        f"log-mel\n[{frames}, 64]\n6,400 values/s",
        f"samples\n[{n_samples}]\n16,000 values/s",
    ]


def test_the_stages_share_the_level_s_colours_and_show_each_channel_at_its_place():
    mel = torch.linspace(-8, 1, 40)[:, None].expand(40, 64)
    latent = torch.arange(8.0)[:, None, None].expand(8, 10, 16) - 3
    _, axes = plots.plot_stages(mel, latent, mel - 1)
    first, row, last = (ax.images[0] for ax in axes)
    assert first.get_clim() == last.get_clim()
    assert row.get_clim() == (-4, 4)
    shown = row.get_array()
    assert shown.shape == (16, 80)
    for channel in range(8):
        assert (shown[:, 10 * channel : 10 * channel + 10] == channel - 3).all()


SOLUTIONS = {name: getattr(solutions, name) for name in solutions.CHECKS}
WRONG = {
    "neper_to_db": [(lambda nepers: nepers * 10 / 2.302585, "20 log10"), (lambda nepers: 8, "off")],
    "latent_shape": [
        (lambda n: (8, n // 160, 16), "a position for each 4"),
        (lambda n: (8, n // 640, 16), "filled up"),
    ],
    "latent_kbps": [
        (lambda bits: 3200 * bits, "1,000 bits"),
        (lambda bits: 12.8 * bits, "25 a second"),
        (lambda bits: bits, "off by"),
    ],
}


@pytest.mark.parametrize("name", solutions.CHECKS)
def test_the_solution_is_right_and_nothing_is_not_tried(name):
    assert solutions.check_exercises(**SOLUTIONS).count(": correct") == len(SOLUTIONS)
    assert f"`{name}`: not tried yet" in solutions.check_exercises(
        **SOLUTIONS | {name: lambda *_: None}
    )


@pytest.mark.parametrize(
    ("name", "answer", "hint"), [(name, *case) for name, cases in WRONG.items() for case in cases]
)
def test_a_wrong_answer_gets_a_hint(name, answer, hint):
    with pytest.raises(ValueError, match=hint):
        solutions.CHECKS[name](answer)
