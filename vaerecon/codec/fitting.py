"""Learn the constants of a codec from sound.

The predictor is learned on decoded frames, its later input, at one step, and used at all steps.
Frequency tables are shared by coefficients: each is for numbers of one mean absolute value.
"""

import math
from typing import Any

import numpy as np
import torch

from vaerecon.audio.samples import first_seconds
from vaerecon.codec.quantiser import N_STEPS, Quantiser, to_frames
from vaerecon.codec.rans import PARTS
from vaerecon.mel.front_end import log_mel
from vaerecon.models.autoencoder import posterior

SECTION, MOST = 250, 360  # latent frames of a section (10 s); sections learned from (1 h)
STEP_INDEX = 48  # step for learning the predictor: 4 deviations
SMALLEST, PER_OCTAVE, TABLES = 2.0**-10, 3, 48  # mean absolute number of the first table


@torch.no_grad()
def fit(clips: Any, vae: Any) -> dict[str, np.ndarray]:
    """Return the constants of a :class:`vaerecon.LatentCodec` from the first 30 s of each clip."""
    found = [posterior(vae, log_mel(clip.samples)) for clip in first_seconds(clips, 30)]
    if not found:
        raise ValueError("clips: got none, expected at least 10 s of sound to learn from")
    variances = [logvar.exp().cpu().numpy() for _, logvar in found]
    deviation = np.concatenate(variances, axis=1).mean(axis=(1, 2)) ** 0.5
    frames = [to_frames(mean.cpu().numpy() / deviation[:, None, None]) for mean, _ in found]
    sections = [x[i : i + SECTION] for x in frames for i in range(0, len(x), SECTION)]
    chosen = sections[:: math.ceil(len(sections) / MOST)]
    if sum(map(len, chosen)) < SECTION:
        raise ValueError("clips: got less than 10 s of sound together; minutes are better")
    mean = np.concatenate(chosen).mean(axis=0)
    wanted = np.zeros((SECTION, len(chosen), 128))  # time first
    inside = np.zeros((SECTION, len(chosen)), bool)
    for i, section in enumerate(chosen):
        wanted[: len(section), i] = section - mean
        inside[: len(section), i] = True
    decoded = wanted
    for _ in range(2):
        predictor, rotation = _predictor(decoded, wanted, inside)
        numbers = Quantiser(predictor, STEP_INDEX).quantise(wanted @ rotation)
        decoded = Quantiser(predictor, STEP_INDEX).restore(numbers) @ rotation.T
    constants = _tables(predictor, wanted @ rotation, inside)
    constants |= {"deviation": deviation, "mean": mean.astype("f4")}
    constants |= {"rotation": rotation.astype("f2"), "predictor": predictor.astype("f2")}
    return {name: np.ascontiguousarray(array) for name, array in constants.items()}


def _predictor(
    decoded: np.ndarray, wanted: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix that predicts a frame, in KLT coordinates, and the KLT of its residual."""
    before = np.concatenate([np.zeros_like(decoded[:1]), decoded[:-1]])[inside]
    now = wanted[inside]
    gram = before.T @ before + 0.01 * len(now) * np.eye(128)  # 0.01 posterior variances
    matrix = np.linalg.solve(gram, before.T @ now)
    left = now - before @ matrix
    rotation = np.linalg.eigh(left.T @ left)[1][:, ::-1]  # the largest variance first
    return rotation.T @ matrix @ rotation, rotation


def _tables(predictor: np.ndarray, wanted: np.ndarray, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Return the table index of each step and coefficient, and the tables, counted per octave."""
    octaves, logs, counts = range(0, N_STEPS, 16), [], np.zeros((TABLES, 255))

    def table_for(log_size: np.ndarray) -> np.ndarray:
        place = np.rint(PER_OCTAVE * (log_size - np.log2(SMALLEST)))
        return np.clip(place, 0, TABLES - 1).astype("u1")

    for index in octaves:
        numbers = Quantiser(predictor, index).quantise(wanted)[inside]
        logs.append(np.log2(np.abs(numbers).mean(axis=0) + SMALLEST))
        for table, number in zip(table_for(logs[-1]), numbers.T, strict=True):
            counts[table] += np.bincount(np.clip(number, -127, 127) + 127, minlength=255)
    between = np.stack([np.interp(range(N_STEPS), octaves, log) for log in np.transpose(logs)])
    frequencies = np.stack([_frequencies(i, row) for i, row in enumerate(counts)])
    return {"table_of": table_for(between.T), "frequencies": frequencies}


def _frequencies(table: int, counts: np.ndarray) -> np.ndarray:
    """Convert counts, smoothed by a geometric distribution, to frequencies that sum to PARTS."""
    size, magnitude = SMALLEST * 2.0 ** (table / PER_OCTAVE), np.abs(np.arange(-127, 128))
    inside = magnitude <= min(127, int(8 * size) + 3)
    geometric = (size / (1 + size)) ** magnitude
    smooth = np.where(inside, counts + 20 * geometric / geometric.sum(), 0)
    parts = np.floor(smooth / smooth.sum() * (PARTS - 255)) + inside
    parts[127] += PARTS - parts.sum()
    return parts.astype("u2")
