"""Settings of a log-mel front-end, and a check that a checkpoint was trained with them."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Framing = Literal["train", "inference"]


@dataclass(frozen=True)
class MelConfig:
    """Settings of a log-mel front-end. The defaults are AudioLDM2's."""

    sample_rate: int = 16000  # Hz; preprocessing.audio.sampling_rate, vocoder.sampling_rate
    n_fft: int = 1024  # samples; preprocessing.stft.filter_length
    win_length: int = 1024  # samples; preprocessing.stft.win_length
    hop_length: int = 160  # samples; preprocessing.stft.hop_length = prod(vocoder.upsample_rates)
    n_mels: int = 64  # bins; preprocessing.mel.n_mel_channels = vocoder.model_in_dim
    fmin: float = 0.0  # Hz; preprocessing.mel.mel_fmin
    fmax: float = 8000.0  # Hz; preprocessing.mel.mel_fmax
    floor: float = 1e-5  # magnitude; clip_val of dynamic_range_compression

    def __post_init__(self) -> None:
        if min(self.n_mels, self.n_fft, self.hop_length) < 1:
            raise ValueError(
                f"mel settings: got {self.n_mels} bins, a window of {self.n_fft} and a hop of "
                f"{self.hop_length}, expected bins, window and hop of at least 1"
            )
        if self.win_length != self.n_fft:
            raise ValueError(
                f"win_length: got {self.win_length}, expected n_fft ({self.n_fft}); set both"
            )
        if self.hop_length >= self.n_fft:
            raise ValueError(
                f"hop_length: got {self.hop_length}, expected less than the window of "
                f"{self.n_fft} samples: what lies between two windows would be lost; "
                "take a shorter hop or a longer window"
            )
        if (self.n_fft - self.hop_length) % 2:
            raise ValueError(
                f"hop_length: got {self.hop_length} with a window of {self.n_fft}, expected an "
                "even difference, which is padded half and half; take an even hop"
            )
        if not (math.isfinite(self.floor) and self.floor > 0):
            raise ValueError(
                f"floor: got {self.floor}, expected a magnitude above 0, such as 1e-5: "
                "the logarithm of 0 is undefined"
            )
        nyquist = self.sample_rate / 2
        if not 0 <= self.fmin < self.fmax <= nyquist:
            raise ValueError(
                f"range: got {self.fmin:g} to {self.fmax:g} Hz, expected an interval within "
                f"0 to {nyquist:g} Hz; move the ends apart"
            )

    @property
    def log_floor(self) -> float:
        """Log-mel value of silence, in nepers (-11.5129 for AudioLDM2)."""
        return math.log(self.floor)

    @property
    def frames_per_second(self) -> float:
        """Mel frames per second (100 for AudioLDM2)."""
        return self.sample_rate / self.hop_length

    def padding(self, framing: Framing) -> int:
        """Return the samples reflected at each end: 432 (``"train"``) or 512 (``"inference"``)."""
        if framing == "train":
            return (self.n_fft - self.hop_length) // 2
        if framing == "inference":
            return self.n_fft // 2
        raise ValueError(f"framing: got {framing!r}, expected 'train' or 'inference'")

    def n_frames(self, n_samples: int, framing: Framing = "train") -> int:
        """Return the number of frames of ``n_samples``: ``ceil(N / hop)``, plus 1 for inference."""
        return math.ceil(n_samples / self.hop_length) + (framing == "inference")

    def frame_center(self, frame: int, framing: Framing = "train") -> int:
        """Return the index of the sample at which ``frame`` is centred."""
        return frame * self.hop_length + self.n_fft // 2 - self.padding(framing)


AUDIOLDM_MEL = MelConfig()


def check_model_configs(vae: Any, vocoder: Any, config: MelConfig = AUDIOLDM_MEL) -> None:
    """Raise ``ValueError`` if a checkpoint has other mel bins, sample rate, hop or channels.

    ``vae`` is the config of a diffusers ``AutoencoderKL`` (mapping), ``vocoder`` that of a
    transformers ``SpeechT5HifiGan`` (object with its fields).
    """
    hop = math.prod(vocoder.upsample_rates)
    facts = [
        ("vae in_channels", vae["in_channels"], 1, "a mel is a picture with one channel"),
        ("vae out_channels", vae["out_channels"], 1, "a mel is a picture with one channel"),
        ("vocoder model_in_dim", vocoder.model_in_dim, config.n_mels, "mel bins per frame"),
        ("vocoder sampling_rate", vocoder.sampling_rate, config.sample_rate, "Hz"),
        ("product of vocoder upsample_rates", hop, config.hop_length, "samples per mel frame"),
    ]
    wrong = [
        f"{name} is {got}, expected {want} ({why})" for name, got, want, why in facts if got != want
    ]
    if wrong:
        raise ValueError(
            f"checkpoint does not fit the AudioLDM mel front-end: {'; '.join(wrong)}. "
            "Use a checkpoint of the AudioLDM, AudioLDM2 or MusicLDM family"
        )
