"""How many bits a latent needs: an estimate with gradients, for training."""

import math

import torch
from torch import nn

STEP = 4.0  # of rounding, in posterior deviations: the one that a codec is learned at
DECAY = 0.99  # of the second moments, a batch


class Rate(nn.Module):
    """Bits per latent value of the residual of a linear prediction from the frame before.

    Uniform noise of one step stands for rounding (J. Ballé et al., "End-to-end Optimized Image
    Compression", ICLR 2017), the residual with it for a Gaussian. Predictor and covariance follow
    from second moments, averaged over batches; a KLT would not change the rate.
    """

    moments: torch.Tensor  # of (1, frame before, frame), times the weight of the average

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("moments", torch.zeros(257, 257))

    def forward(self, mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        """Of ``[B, 8, L, 16]``; where gradients are on, the moments are updated first."""
        frames = (mean / deviation(logvar)).movedim(1, -1).flatten(2)  # [B, L, 128]
        one = torch.ones_like(frames[:, 1:, :1])
        pairs = torch.cat([one, frames[:, :-1], frames[:, 1:]], dim=-1).flatten(0, 1)
        if torch.is_grad_enabled():
            self.moments.lerp_(pairs.detach().T @ pairs.detach() / len(pairs), 1 - DECAY)
        noise = torch.full_like(self.moments[0], STEP**2 / 12).diag()
        noise[0, 0] = 0
        moments = self.moments / self.moments[0, 0] + noise
        predictor = torch.linalg.solve(moments[:129, :129], moments[:129, 129:])
        residual = torch.cat([-predictor, torch.eye(128, device=mean.device)])
        inverse = torch.linalg.inv(residual.T @ moments @ residual)
        # code length for that Gaussian, less that of the noise alone
        now = residual.T @ (pairs.T @ pairs / len(pairs) + noise) @ residual
        length = (inverse * now).sum() - 128 - torch.logdet(inverse) - 128 * math.log(STEP**2 / 12)
        return length / (256 * math.log(2))


def deviation(logvar: torch.Tensor) -> torch.Tensor:
    """Posterior deviation of each channel: ``[B, 8, L, 16]`` to ``[8, 1, 1]``."""
    return logvar.exp().mean(dim=(0, 2, 3)).sqrt()[:, None, None]


def disturb(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """The latent ``[B, 8, L, 16]`` with the noise."""
    return mean + (torch.rand_like(mean) - 0.5) * STEP * deviation(logvar)
