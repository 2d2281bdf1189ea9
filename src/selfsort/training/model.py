"""What a fit trains: a network with its bottleneck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsort.bottlenecks import Bottleneck
from selfsort.networks import Network
from selfsort.objectives import Outputs


class Model(nn.Module):
    """A network and the bottleneck between its head and its decoder."""

    def __init__(self, network: Network, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.network = network
        self.bottleneck = bottleneck

    def forward(
        self,
        images: Tensor,
        partners: Tensor | None = None,
        logits: Tensor | None = None,
        *,
        reconstruct: bool = True,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Outputs:
        """Encode images (and their partners in the same pass), and decode the images' codes.

        Logits that are given are not worked out again.
        """
        n = len(images)
        encoded = self.network.encode(images if partners is None else torch.cat([images, partners]))
        outputs = Outputs(images)
        logits = encoded.logits if logits is None else logits
        if logits is not None:
            code = self.bottleneck(logits, progress, generator)
            outputs.code, outputs.logits = code[:n], logits[:n]
            outputs.partner_code = code[n:] if partners is not None else None
        if reconstruct:
            style = None if encoded.style is None else encoded.style[:n]
            outputs.reconstruction = self.network.decode(latent_of(outputs.code, style))
        return outputs


def latent_of(code: Tensor | None, style: Tensor | None) -> Tensor:
    """Return what the decoder reads: the code, then the style, whichever there are."""
    return torch.cat([part for part in (code, style) if part is not None], dim=1)
