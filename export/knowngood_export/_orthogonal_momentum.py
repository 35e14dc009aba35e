"""The optimiser: momentum whose matrices are made orthogonal before each step (Muon).

Every direction of a weight matrix is moved by the same amount, so the weak correlations between
tests are learnt in as few steps as the strong ones: at equal cost an autoencoder of 512 tightly
correlated tests ends nearer to its noise floor than with Adam. Jordan et al., *Muon: an optimizer
for hidden layers in neural networks*, 2024; the step's size follows Liu et al., *Muon is scalable
for LLM training*, 2025. Biases are left to Adam.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)
"""p(s) = a·s + b·s³ + c·s⁵ drives singular values towards 1."""
ITERATIONS = 3
"""Three are enough here; five, the usual number, cost two thirds more and gain nothing."""
MOMENTUM = 0.95
STEP_PER_RATE = 0.2
"""Root mean square of a step's elements per unit of learning rate, as Adam's typically is."""
SMALLEST_NORM = 1e-12


class OrthogonalMomentum:
    """Steps weight matrices by orthogonal momentum and everything else by Adam.

    Args:
        parameters: tensors with gradients; those of two dimensions are weight matrices.
        weight_decay: matrices shrink by ``learning rate · weight_decay`` each step.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], *, weight_decay: float = 0.0
    ) -> None:
        parameters = list(parameters)
        self._matrices = [p for p in parameters if p.ndim == 2]
        self._momenta = [torch.zeros_like(p) for p in self._matrices]
        self._weight_decay = weight_decay
        self._adam = torch.optim.Adam([p for p in parameters if p.ndim != 2])

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every parameter along its gradient, and clear the gradients."""
        for matrix, momentum in zip(self._matrices, self._momenta, strict=True):
            gradient = matrix.grad
            if gradient is None:
                continue
            momentum.lerp_(gradient, 1 - MOMENTUM)
            direction = orthogonalised(gradient.lerp(momentum, MOMENTUM))
            matrix.mul_(1 - learning_rate * self._weight_decay)
            matrix.add_(direction, alpha=-learning_rate * STEP_PER_RATE * max(matrix.shape) ** 0.5)
            matrix.grad = None
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self._adam.zero_grad()


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix with the singular vectors of ``matrix`` and singular values near 1."""
    a, b, c = QUINTIC
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
