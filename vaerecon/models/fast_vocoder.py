"""Log-mel to samples by the kit's own small, fast vocoder: method ``fast``.

A log-mel lacks the fine structure of the spectrum and all phases. A network can predict the fine
structure: where the harmonics of a voice lie between two mel bins follows from the mel's low bins
and from neighbouring frames. The phase of a steady tone is a sum over all frames since it began,
which a convolution of bounded reach cannot compute; but a few Griffin-Lim steps find a good one if
the magnitudes are right (see ``oracle_magnitude``). So:

1. a stack of ConvNeXt blocks [1]_ at the mel's own 100 frames a second, as in Vocos [2]_, predicts
   the 513 STFT magnitudes of each frame;
2. two steps of expectation maximisation hold them to the mel exactly where the network is off;
3. the phase starts as steady sinusoids under their peaks, and :data:`N_ITER` steps of
   :func:`vaerecon.phase.retrieval.griffin_lim`, held to the mel, make it consistent; the inverse
   STFT of the last is the sound.

The front-end is that of all AudioLDM2 checkpoints, so one set of weights serves them all. A frame's
magnitude depends on :attr:`MagnitudeNetwork.reach` frames to each side, a sample on as many plus
6.4 for every Griffin-Lim step. Notebook: ``04_method_comparison``.

References
----------
.. [1] Z. Liu et al., "A ConvNet for the 2020s", CVPR 2022.
.. [2] H. Siuzdak, "Vocos: closing the gap between time-domain and Fourier-based neural vocoders",
   ICLR 2024.
"""

import inspect
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from vaerecon.audio.samples import ArrayLike
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import check_log_mel
from vaerecon.models.checkpoint_configs import read_config
from vaerecon.models.checkpoint_weights import FAST, fill
from vaerecon.phase.mel_inversion import fit_to_mel, spread
from vaerecon.phase.retrieval import griffin_lim
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.threads import one_by_one

N_ITER = 16  # Griffin-Lim steps
# Sizes above these are no network of this kind; refused before memory is taken for them.
LARGEST = {"channels": 4096, "hidden": 16384, "layers": 64, "kernel": 63}
FAINT = 1e-7  # magnitude below which nothing is heard; keeps the logarithm finite


class ConvNeXtBlock(nn.Module):
    """Mixes frames channel by channel, then channels frame by frame; ``[B, T, C]`` in and out."""

    def __init__(self, channels: int, hidden: int, kernel: int):
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))  # blocks begin as small changes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # [B, T, C] -> [B, C, T] for the convolution over time, and back
        y: torch.Tensor = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.contract(F.gelu(self.expand(self.norm(y)), approximate="tanh"))
        return x + self.scale * y


class MagnitudeNetwork(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Log-mel ``[B, T, 64]`` to natural log of the STFT magnitude ``[B, T, 513]``.

    What the network adds is the difference to the smooth magnitude that the mel alone gives. A
    diffusers model: ``from_pretrained`` and ``save_pretrained`` are the library's.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 256,  # of the blocks
        hidden: int = 768,  # channels inside them
        layers: int = 6,  # blocks
        kernel: int = 7,  # frames that each convolution sees
        mel_mean: float = -6.0,  # nepers; the input is standardised by these two
        mel_deviation: float = 2.5,
    ):
        super().__init__()
        sizes = {"channels": channels, "hidden": hidden, "layers": layers, "kernel": kernel}
        for name, size in sizes.items():
            if not isinstance(size, int) or not 1 <= size <= LARGEST[name]:
                raise ValueError(f"{name}: got {size!r}, expected 1 to {LARGEST[name]}")
        n_mels, bins = AUDIOLDM_MEL.n_mels, AUDIOLDM_MEL.n_fft // 2 + 1
        self.embed = nn.Conv1d(n_mels, channels, kernel, padding=kernel // 2)
        self.first_norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, hidden, kernel) for _ in range(layers))
        self.last_norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, bins)
        with torch.no_grad():  # begins near the smooth magnitude
            self.head.weight *= 0.1
            self.head.bias.zero_()

    @property
    def reach(self) -> int:
        """Frames to each side on which one frame of the result depends."""
        config = self.config
        return int((config["layers"] + 1) * (config["kernel"] // 2))

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """``[B, T, 64]`` nepers to ``[B, T, 513]``, natural log of magnitudes."""
        x = (log_mel - self.config["mel_mean"]) / self.config["mel_deviation"]
        # [B, T, C] -> [B, C, T] for the convolution over time, and back
        x = self.first_norm(self.embed(x.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        detail: torch.Tensor = self.head(self.last_norm(x))
        return _smooth(log_mel) + detail


@without_autocast
def _smooth(log_mel: torch.Tensor) -> torch.Tensor:
    """Log magnitudes from the mel alone; in float32 also while the network is trained."""
    back = spread(AUDIOLDM_MEL, str(log_mel.device))
    return (log_mel.exp() @ back).clamp_min(FAINT).log()


def load_network(folder: Path) -> MagnitudeNetwork:
    """The network in ``folder``, as ``vaerecon train fast`` writes it; float32, on the CPU.

    ValueError if there is none, or it is damaged or of another kind.
    """
    where = f"{folder.parent.name}/{folder.name}"
    try:
        config = read_config(folder / "config.json", "config.json")
        sizes = inspect.signature(MagnitudeNetwork.__init__).parameters
        with torch.device("meta"):
            network: MagnitudeNetwork = MagnitudeNetwork(
                **{k: v for k, v in config.items() if k in sizes}
            )
        fill(network, [folder / FAST], torch.float32, where)
    except Exception as error:  # a config or weights of another kind raise many
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{where}: got no network for the method 'fast' ({reason}); "
            "`vaerecon train fast` makes one, and without the folder the bundled one is taken"
        ) from error
    network.eval().requires_grad_(False)
    return network


@lru_cache(maxsize=4)
def bundled_network(device: str = "cpu") -> MagnitudeNetwork:
    """The network that comes with the package, on ``device``; loaded once."""
    from vaerecon.bundled import TINY

    network = load_network(TINY / "fast")
    network.to(torch.device(device))  # type: ignore[arg-type]
    return network


@torch.no_grad()
@without_autocast
def predict_magnitude(network: MagnitudeNetwork, log_mel: ArrayLike) -> torch.Tensor:
    """STFT magnitudes whose mel is ``log_mel`` and whose fine structure is the network's.

    ``[T, 64]`` or ``[B, T, 64]`` nepers (else ``ValueError``) to ``[T, 513]`` or ``[B, T, 513]``,
    float32, on the network's device.
    """
    mel = check_log_mel(log_mel).to(network.device)
    batch = mel if mel.ndim == 3 else mel[None]
    magnitude = one_by_one(network, batch).exp()
    return fit_to_mel(magnitude if mel.ndim == 3 else magnitude[0], mel)


def synthesize(
    network: MagnitudeNetwork, log_mel: ArrayLike, n_samples: int,
    generator: torch.Generator | None = None, n_iter: int = N_ITER,
) -> torch.Tensor:  # fmt: skip
    """Log-mel ``[T, 64]`` or ``[B, T, 64]`` to samples ``[N]`` or ``[B, N]``, by ``n_iter`` steps.

    float32, on the network's device. The first phases are drawn from ``generator`` (seed 0).
    ValueError for another layout, or if ``n_samples`` is no length that has ``T`` frames.
    """
    mel = check_log_mel(log_mel).to(network.device)
    magnitude = predict_magnitude(network, mel)
    return griffin_lim(magnitude, n_samples, log_mel=mel, n_iter=n_iter, generator=generator)
