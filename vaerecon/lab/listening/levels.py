"""Level matching, and sounds as HTML, for the player, the listening tests and reports.

Each track gets the gain that brings its RMS (mean removed), or its loudness by ITU-R BS.1770-4, to
the reference's. If a sample then exceeds full scale, all tracks get one common gain, so that none
clips. A track whose peaks would take more than :data:`MAX_DROP` from the others stays softer. All
this is shown. A silent track stays silent, at 0 dB.
"""

from __future__ import annotations

import base64
import html
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import soundfile

from vaerecon.audio.conversion import RATES
from vaerecon.audio.samples import SILENCE, ArrayLike, as_samples

CEILING = 0.99  # of full scale; the loudest sample after the common gain, -0.09 dBFS
MAX_DROP = 6.0  # dB; common gain that the peaks of one track may cost the others
SHORTEST = 0.4  # s; a block of BS.1770


@dataclass(frozen=True, eq=False)
class Track:
    """One sound as it is played."""

    name: str
    samples: np.ndarray  # [N] float32 with both gains applied, within +-CEILING
    gain_db: float  # dB; of the level matching, before the common gain
    silent: bool  # nothing to match, so gain_db is 0
    loudness: float | None  # LUFS, BS.1770, as played; None below 0.4 s or below the gate
    missing_db: float = 0.0  # dB below the reference's level, because of its peaks


@dataclass(frozen=True)
class Matched:
    """Tracks at one level."""

    tracks: tuple[Track, ...]
    sample_rate: int  # Hz
    reference: str | None  # the track whose level the others got; None: levels unchanged
    common_gain_db: float  # dB, 0 or less; applied to every track so that none clips
    measure: str  # of the level: "rms" or "loudness"

    @property
    def names(self) -> list[str]:
        """Names of the tracks, in order."""
        return [track.name for track in self.tracks]

    def in_order(self, names: Sequence[str]) -> Matched:
        """The same tracks, ordered (and repeated or left out) as ``names``."""
        found = {track.name: track for track in self.tracks}
        return replace(self, tracks=tuple(found[name] for name in names))

    def shuffled(self, seed: int | None = None) -> Matched:
        """The same tracks in a random order; None draws a new order each time."""
        return self.in_order(np.random.default_rng(seed).permutation(self.names).tolist())


def match_levels(
    tracks: Mapping[str, ArrayLike],
    sample_rate: int = 16000,
    *,
    reference: str | None = None,
    level_match: bool = True,
    measure: str = "rms",
    max_drop: float = MAX_DROP,
) -> Matched:
    """Bring every track to the level of the reference, then all together below full scale.

    Parameters
    ----------
    tracks
        Name -> ``[N]`` samples, all of one length.
    sample_rate
        Hz, 8000 to 192000.
    reference
        Name of the track whose level the others get; by default the first one.
    level_match
        False leaves the levels as they are, but for the common gain.
    measure
        Of the level: ``"rms"``, or ``"loudness"`` (ITU-R BS.1770-4, of 0.4 s or more).
    max_drop
        dB; a track whose peaks would ask for more common gain gets less gain of its own. ``inf``
        in blind tests, where a softer track would be known by its level.

    Raises
    ------
    ValueError
        If there are no tracks, their lengths differ, a track is no ``[N]`` of finite numbers,
        ``reference`` is not among them, or they are too short or soft for ``"loudness"``.
    """
    if measure not in ("rms", "loudness"):
        raise ValueError(f"measure: got {measure!r}, expected 'rms' or 'loudness'")
    name = str(next(iter(tracks), "") if reference is None else reference)
    sounds = _checked(tracks, sample_rate, name)
    level = {track: float(np.std(x, dtype=np.float64)) for track, x in sounds.items()}
    silent = {track for track, rms in level.items() if rms <= SILENCE}
    if level_match and name in silent:
        warnings.warn(f"reference {name!r} is silent: levels left as they are", stacklevel=2)
        level_match = False
    if level_match and measure == "loudness":
        level |= {track: _loudness_factor(track, sounds[track], sample_rate)
                  for track in sounds if track not in silent}  # fmt: skip
    matching = [track for track in sounds if level_match and track not in silent]
    gains = dict.fromkeys(sounds, 1.0) | {track: level[name] / level[track] for track in matching}
    peaks = {track: float(np.abs(x).max()) * gains[track] for track, x in sounds.items()}
    highest = max(CEILING * 10 ** (max_drop / 20), peaks[name]) if level_match else math.inf
    missing = {track: max(1.0, peak / highest) for track, peak in peaks.items()}
    peak = max(peaks[track] / missing[track] for track in sounds)
    common = min(1.0, CEILING / peak) if peak > 0 else 1.0
    matched = []
    for track, x in sounds.items():
        gain = gains[track] / missing[track]
        samples = (x * (gain * common)).astype(np.float32)
        decibels, less = 20 * math.log10(gain), 20 * math.log10(missing[track])
        loud = loudness(samples, sample_rate)
        matched.append(Track(track, samples, decibels, track in silent, loud, less))
    given = name if level_match else None
    return Matched(tuple(matched), int(sample_rate), given, 20 * math.log10(common), measure)


def loudness(samples: np.ndarray, sample_rate: int) -> float | None:
    """Integrated loudness of ``[N]`` by ITU-R BS.1770-4, LUFS; None below 0.4 s or the gate."""
    from pyloudnorm import Meter  # of the extra `notebooks`

    if len(samples) < SHORTEST * sample_rate:
        return None
    with np.errstate(divide="ignore"):  # silence has -inf
        value = float(Meter(sample_rate).integrated_loudness(samples.astype(np.float64)))
    return value if math.isfinite(value) else None


def _loudness_factor(name: str, samples: np.ndarray, sample_rate: int) -> float:
    value = loudness(samples, sample_rate)
    if value is None:
        raise ValueError(
            f"measure: got 'loudness', but track {name!r} is shorter than {SHORTEST} s or below "
            "the gate of -70 LUFS; take 'rms'"
        )
    return 10 ** (value / 20)


def _checked(
    tracks: Mapping[str, ArrayLike], sample_rate: int, reference: str
) -> dict[str, np.ndarray]:
    """The samples ``[N]`` of each track, float64 on the CPU."""
    if not tracks:
        raise ValueError("tracks: got none, expected at least one, such as {'original': samples}")
    if isinstance(sample_rate, bool) or sample_rate not in RATES:
        raise ValueError(
            f"sample_rate: got {sample_rate!r}, expected an integer of {RATES.start} to "
            f"{RATES.stop - 1} Hz"
        )
    if reference not in tracks:
        raise ValueError(f"reference: got {reference!r}, expected one of {list(tracks)}")
    sounds = {str(name): one_clip(f"track {name!r}", x) for name, x in tracks.items()}
    lengths = {name: len(x) for name, x in sounds.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"tracks: got lengths {lengths}, expected one length, so that switching keeps the "
            "playhead; cut them to the shortest, or play them apart"
        )
    return sounds


def one_clip(name: str, samples: ArrayLike) -> np.ndarray:
    """Samples as ``[N]`` float64 on the CPU; a ValueError names the track."""
    try:
        x = as_samples(samples)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if x.ndim != 1:
        shape = list(x.shape)
        raise ValueError(f"{name}: got shape {shape}, expected [N]: one item of the batch")
    return x.detach().cpu().numpy().astype(np.float64)


def pcm16(samples: np.ndarray) -> np.ndarray:
    """Floats within -1..1 to 16-bit integers, rounded; the error is at most half a step."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")


def wav_uri(samples: np.ndarray, sample_rate: int) -> str:
    """``[N]`` floats as a ``data:`` address that holds a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm16(samples), sample_rate, format="WAV")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def blind_labels(n: int) -> list[str]:
    """A, B, ... Z, then A1, B1, ...: what the tracks of a blind player are called."""
    return [chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "") for i in range(n)]


def gain_text(track: Track) -> str:
    """How the gain of a track reads."""
    return "silent" if track.silent else f"{round(track.gain_db, 1) + 0.0:+.1f} dB"


def level_text(matched: Matched) -> str:
    """One sentence on how the levels were set."""
    how = "Levels unchanged"
    if matched.reference is not None:
        kind = "RMS" if matched.measure == "rms" else "loudness, BS.1770"
        how = f"All at the level ({kind}) of “{matched.reference}”"
    for track in matched.tracks:
        if track.missing_db:
            how += f", except “{track.name}”, {track.missing_db:.1f} dB softer because of its peaks"
    if matched.common_gain_db < 0:
        how += f"; then {matched.common_gain_db:+.1f} dB for all, so that none clips"
    return f"{how}."


def loudness_text(track: Track) -> str:
    """The loudness of a track as text."""
    known = track.loudness is not None
    return f"{track.loudness:.1f}\N{NO-BREAK SPACE}LUFS" if known else "not measurable"


def audio_table(matched: Matched, *, title: str = "", blind: bool = False) -> str:
    """The tracks as an HTML table of ``<audio>`` elements, for pages without scripts.

    If ``blind``, the tracks, already shuffled, are called A, B, C; names and gains are in a folded
    block below.
    """
    labels = blind_labels(len(matched.tracks)) if blind else matched.names
    level, rows, answer = html.escape(level_text(matched)), "", ""
    for label, track in zip(map(html.escape, labels), matched.tracks, strict=True):
        gain, loud = ("hidden", "hidden") if blind else (gain_text(track), loudness_text(track))
        rows += (
            f'<tr><th scope="row">{label}</th><td>{gain}</td><td>{loud}</td>'
            f"<td>{len(track.samples) / matched.sample_rate:.2f} s</td>"
            '<td><audio controls preload="metadata" style="height:36px;vertical-align:middle" '
            f'aria-label="{label}" src="{wav_uri(track.samples, matched.sample_rate)}"></audio>'
            "</td></tr>"
        )
    if blind:
        key = "; ".join(
            f"{label} is {track.name} ({gain_text(track)})"
            for label, track in zip(labels, matched.tracks, strict=True)
        )
        answer = (
            f"<details><summary>Reveal the names</summary>{html.escape(key)}. {level}</details>"
        )
        level = "Shuffled; levels and names below."
    columns = ("sound", "gain", "BS.1770", "length", "listen")
    head = "".join(f'<th scope="col">{text}</th>' for text in columns)
    return (
        '<div class="vaerecon-sounds"><table>'
        '<caption style="caption-side:top;text-align:left">'
        f"<strong>{html.escape(title)}</strong> {level}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{answer}</div>"
    )
