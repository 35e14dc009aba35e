"""What training does to its dies on purpose: tests go missing, and noise is added.

Dies on the tester lack tests in ways that good dies rarely do (a program that stops at the first
fail, a site that times out). Masks drawn from the patterns that a lot really shows teach the
network to reconstruct what is there, whatever is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from knowngood._errors import UsageError

NoiseKind = Literal["gaussian", "salt_and_pepper", "masking"]
MASKED_SHARE = 0.3
"""Share of the dies of a batch that get a mask, a third of them of each kind."""
SHORTEST_PREFIX = 0.25
"""A program that stops at a fail is taken to have run at least this part of its tests."""
PEPPER_SIGMA = 4.0
"""Salt and pepper noise puts a test so many sigma up or down."""


@dataclass(frozen=True)
class Noise:
    """Denoising training: the network sees noisy dies and must give back the clean ones.

    Attributes:
        kind: ``gaussian`` adds noise of ``level`` sigma; ``salt_and_pepper`` puts a share ``level``
            of the tests 4 sigma up or down; ``masking`` sets a share ``level`` of them to 0.
        level: sigma, or a share.
    """

    kind: NoiseKind
    level: float

    def __post_init__(self) -> None:
        if self.kind not in ("gaussian", "salt_and_pepper", "masking"):
            raise UsageError(
                f"noise must be gaussian, salt_and_pepper or masking, found {self.kind!r}"
            )
        largest = float("inf") if self.kind == "gaussian" else 1.0
        if not 0 < self.level < largest:
            raise UsageError(
                f"the level of {self.kind} noise must lie between 0 and {largest:g}, "
                f"found {self.level}"
            )

    def apply(self, u: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """A noisy copy of ``u`` (n_dies, n_tests)."""
        if self.kind == "gaussian":
            return u + self.level * torch.randn(u.shape, generator=rng)
        draw = torch.rand(u.shape, generator=rng)
        hit = draw < self.level
        if self.kind == "masking":
            return u.masked_fill(hit, 0.0)
        pepper = torch.where(draw < self.level / 2, -PEPPER_SIGMA, PEPPER_SIGMA)
        return torch.where(hit, pepper, u)


@dataclass(frozen=True)
class Masking:
    """Which tests are taken from dies in training.

    Attributes:
        patterns: bool ``(n_patterns, n_tests)``, True where a test is missing; none, no masks.
    """

    patterns: torch.Tensor

    @property
    def rate(self) -> float:
        """Mean share of missing tests over the patterns."""
        return float(self.patterns.float().mean()) if len(self.patterns) else 0.0

    def apply(self, present: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """``present`` (n_dies, n_tests), with further tests missing on some of the dies.

        A masked die gets a pattern of the lot, the loss of all tests after a random one, or of
        tests at random at up to twice the patterns' rate.
        """
        n_masked = round(MASKED_SHARE * len(present))
        if len(self.patterns) == 0 or n_masked == 0:
            return present
        # rows of a batch are in random order already, so its first dies are as good as any
        missing = self._draw(n_masked, present.shape[1], rng)
        masked = present.clone()
        masked[:n_masked] &= ~missing
        return masked

    def _draw(self, n: int, n_tests: int, rng: torch.Generator) -> torch.Tensor:
        seen = self.patterns[torch.randint(len(self.patterns), (n,), generator=rng)]
        shortest = max(1, int(SHORTEST_PREFIX * n_tests))
        stop = torch.randint(shortest, n_tests + 1, (n, 1), generator=rng)
        tail = torch.arange(n_tests) >= stop
        rates = torch.rand((n, 1), generator=rng) * min(2 * self.rate, 0.9)
        scattered = torch.rand((n, n_tests), generator=rng) < rates
        kind = torch.arange(n).remainder(3).unsqueeze(1)
        return torch.where(kind == 0, seen, torch.where(kind == 1, tail, scattered))
