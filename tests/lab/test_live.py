"""The live mode without a browser: messages as its script sends them."""

from __future__ import annotations

import numpy as np
import pytest

import vaerecon as vr
from vaerecon.lab.listening import recorder
from vaerecon.lab.listening.recorder import LiveStream

SETTING = {"method": "griffinlim", "through_vae": False}


class Heard(LiveStream):
    """Keeps what it sends to the browser."""

    def send(self, content, buffers=None) -> None:
        self.answers = [*getattr(self, "answers", []), (content, buffers)]


def tell(widget: LiveStream, block: np.ndarray | None = None, **message) -> None:
    buffers = [] if block is None else [memoryview(block.astype("<f4").tobytes())]
    widget._handle_custom_msg({"dropped": 0, **message}, buffers)


def run(widget: Heard, sound: np.ndarray, rate: int) -> None:
    """Start, and all whole blocks of a sound."""
    widget.answers = []
    tell(widget, rate=rate)
    size = widget.answers[0][0]["size"]
    for first in range(0, len(sound) - size + 1, size):
        tell(widget, sound[first : first + size])


def offline(pipe, samples: np.ndarray, rate: int) -> np.ndarray:
    return vr.Stream(pipe, sample_rate=rate, **SETTING).push(samples).numpy()


@pytest.mark.parametrize("rate", [16000, 48000])
def test_what_goes_back_is_the_stream_of_what_came(tiny, sound, rate):
    widget = Heard(tiny, **SETTING)
    for samples in (sound[:9600], sound[3000:12600]):  # the second run knows nothing of the first
        run(widget, samples, rate)
        (first, _), *rest = widget.answers
        assert first["size"] == rate // 25
        assert first["latency"] == vr.Stream(tiny, sample_rate=rate, **SETTING).latency / rate
        back = np.concatenate([np.frombuffer(buffers[0], "<f4") for _, buffers in rest])
        np.testing.assert_array_equal(back, offline(tiny, samples[: len(back)], rate))
        np.testing.assert_array_equal(widget.received, back)
        np.testing.assert_array_equal(widget.sent, samples[: len(back)])
        assert len(back) == len(samples) // first["size"] * first["size"]


def test_stop_ends_it_and_what_was_dropped_is_known(tiny, sound):
    widget = Heard(tiny, **SETTING)
    tell(widget, sound[:640])  # before it was started
    assert not hasattr(widget, "answers")
    run(widget, sound[:3200], 16000)
    tell(widget, dropped=7)
    count = len(widget.answers)
    tell(widget, sound[:640], dropped=7)
    assert (len(widget.answers), len(widget.sent), widget.dropped) == (count, 3200, 7)


def test_it_keeps_the_first_seconds(tiny, sound, monkeypatch):
    monkeypatch.setattr(recorder, "KEPT", 0.1)
    widget = Heard(tiny, **SETTING)
    run(widget, sound[:3200], 16000)
    np.testing.assert_array_equal(widget.sent, sound[:1280])
    assert len(widget.answers) == 1 + 5


def test_bad_settings_and_bad_samples_get_one_sentence(tiny):
    with pytest.raises(ValueError, match=r"look_ahead: got 0\.03"):
        LiveStream(tiny, look_ahead=0.03)
    widget = Heard(tiny, **SETTING)
    tell(widget, rate=16000)
    tell(widget, np.full(640, np.nan))
    assert "NaN" in widget.answers[-1][0]["error"]
    count = len(widget.answers)
    tell(widget, np.zeros(640))  # it has ended
    assert len(widget.answers) == count
