"""What notebook 08 measures: streams of a clip, windows on and off the grid, answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vaerecon as vr
from vaerecon.lab.nb08_real_time import solutions as solutions_08
from vaerecon.lab.nb08_real_time import streams


@pytest.fixture(scope="module")
def samples(sound) -> torch.Tensor:
    return torch.from_numpy(sound[:9600])


def encode_blocks(encode, mel, past):
    """As in the notebook."""
    starts = [(frame, max(0, frame - past)) for frame in range(0, len(mel), 4)]
    return torch.stack([encode(mel[i : f + 12])[:, (f - i) // 4] for f, i in starts], dim=1)


def test_what_is_sent_is_what_a_stream_gives(tiny, samples):
    found = streams.send(tiny, samples, through_vae=False, method="griffinlim", gain=1.0)
    stream = vr.Stream(tiny, through_vae=False, method="griffinlim", gain=1.0)
    own = torch.cat([stream.push(samples), stream.flush()])[stream.latency :]
    assert torch.equal(found.sound, own)
    assert (found.latency, found.block, len(found.seconds)) == (0.174, 0.04, 15)


def test_windows_off_the_grid_are_worse_than_any_on_it(tiny, samples):
    errors = streams.window_errors(tiny, vr.log_mel(samples, normalize=False), encode_blocks)
    off = errors.index.str.contains("off the grid")
    assert errors[off].min() > 1.5 * errors[~off].max()


def test_a_wrong_answer_gets_a_hint():
    wrong = {
        "latency": lambda block, ahead: block + 1024 / 16000 + ahead,
        "shortest_block": lambda model, past, ahead: model * (past + ahead),
        "running_peak": lambda samples, half_life: np.full(len(samples), np.abs(samples).max()),
    }
    text = solutions_08.check_exercises(**wrong)
    assert "0.04, 0.0 s: got 0.104, expected 0.094" in text
    assert "as long as it is" in text
    assert "use no future" in text
