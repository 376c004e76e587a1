"""How many bits a latent needs: an estimate with gradients, for training."""

import math

import torch
from torch import nn

STEP = 4.0  # of rounding, in posterior deviations; the codec learns its predictor at it
DECAY, RIDGE = 0.99, 0.01  # of the moments, a batch; added to their diagonal, as in the codec


class Rate(nn.Module):
    """Bits per latent value after a linear prediction from the frame before and a KLT.

    Uniform noise of one step stands for rounding, because it lets gradients pass (J. Ballé et al.,
    "End-to-end Optimized Image Compression", ICLR 2017). What the best prediction from the noisy
    frame before leaves is taken as Gaussian. Predictor and covariance follow from second moments,
    which are averaged over the training batches; gradients pass the latent only.
    """

    def __init__(self) -> None:
        super().__init__()
        # of (1, frame before, frame); in the upper left corner stands the weight of the average
        self.register_buffer("moments", torch.zeros(257, 257))
        self.moments: torch.Tensor

    def forward(
        self, mean: torch.Tensor, noisy: torch.Tensor, logvar: torch.Tensor
    ) -> torch.Tensor:
        """A scalar; all ``[B, 8, L, 16]``. Where gradients are on the moments are updated first."""
        scale = deviation(logvar)
        # [B, 8, L, 16] -> [B, L, 128]: frames
        now, before = ((x / scale).movedim(1, -1).flatten(2) for x in (mean, noisy))
        pairs = torch.cat([torch.ones_like(now[:, 1:, :1]), before[:, :-1], now[:, 1:]], dim=-1)
        pairs = pairs.flatten(0, 1)
        training = torch.is_grad_enabled()
        with torch.no_grad():
            if training:
                self.moments.lerp_(pairs.T @ pairs / len(pairs), 1 - DECAY)
            moments = self.moments / self.moments[0, 0] + RIDGE * torch.eye(257, device=now.device)
            predictor = torch.linalg.solve(moments[:129, :129], moments[:129, 129:])
            residual = torch.cat([-predictor, torch.eye(128, device=now.device)])
            noise = STEP**2 / 12 * torch.eye(128, device=now.device)
            inverse = torch.linalg.inv(residual.T @ moments @ residual + noise)
        left = pairs @ residual
        # code length for a Gaussian of the averaged covariance, less that of the noise alone
        distance = ((left @ inverse) * left).sum(dim=1).mean() + (noise * inverse).sum() - 128
        length = distance - torch.logdet(inverse) - torch.logdet(noise)
        return length / (2 * math.log(2) * 128)


def deviation(logvar: torch.Tensor) -> torch.Tensor:
    """Posterior deviation of each channel: ``[B, 8, L, 16]`` to ``[8, 1, 1]``."""
    return logvar.exp().mean(dim=(0, 2, 3)).sqrt()[:, None, None]


def disturb(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """The latent ``[B, 8, L, 16]`` with uniform noise of one step in place of rounding."""
    return mean + (torch.rand_like(mean) - 0.5) * STEP * deviation(logvar)
