"""The recommendation of one clip: the rules that a table of clips is judged by, for one of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vaerecon.metrics.recommendation import panel_metrics, recommend, recommend_for_clip
from vaerecon.metrics.scores import METRICS, OTHER, PANELS, SPEECH

NAMES = ["vocoder", "fast", "griffinlim"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("panel", PANELS)
def test_one_clip_gets_the_choice_that_its_table_gets(seed, panel):
    draws = np.random.default_rng(seed)
    scores = {n: {m: float(draws.normal(0, METRICS[m].tie * 2 + 0.1)) for m in METRICS}
              for n in NAMES}  # fmt: skip
    rows = [{"clip": "c", "method": n, "vae": True, "real_time_factor": 0.1} | scores[n]
            for n in NAMES]  # fmt: skip
    (free,) = [r for r in recommend(pd.DataFrame(rows), NAMES)
               if r.panel == panel and r.budget == np.inf]  # fmt: skip
    method, basis = recommend_for_clip(scores, panel)
    assert method == free.method
    assert basis.startswith(f"mean rank {free.rank:.1f} of 3 by Log-mel MAE, ")


def test_ties_and_missing_values_are_told():
    scores = {
        "vocoder": {"log_mel_mae": 0.5, "pesq_wb": None, "estoi": 0.700},
        "fast": {"log_mel_mae": 0.5, "pesq_wb": 3.0, "estoi": 0.701},
    }
    level = "mean rank 1.5 of 2 by Log-mel MAE, ESTOI; level with fast"
    assert recommend_for_clip(scores, SPEECH) == ("vocoder", level)
    scores["fast"]["estoi"] = 0.8
    better = "mean rank 1.2 of 2 by Log-mel MAE, ESTOI"
    assert recommend_for_clip(scores, SPEECH) == ("fast", better)
    nothing = {name: dict.fromkeys(panel_metrics(OTHER)) for name in scores}
    assert recommend_for_clip(nothing, OTHER) == (None, "no metric has a value for every method")
    assert recommend_for_clip({"fast": {}}, OTHER) == ("fast", "nothing to choose from")
    assert recommend_for_clip({}, OTHER) == (None, "nothing to choose from")
