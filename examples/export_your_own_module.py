"""A torch autoencoder trained elsewhere, exported with scaler, score head and thresholds.

python examples/export_your_own_module.py out/own
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from knowngood_export import export_model, synthetic


def main(folder: str) -> None:
    dies = synthetic.textbook_dies(3000, seed=0)  # float32 (n_dies, n_tests), raw units
    train, held_out = dies[:1000], dies[1000:]
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(512, 64), nn.Tanh(), nn.Linear(64, 512))
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    u = torch.from_numpy((train - 0.5) / 0.1)  # export_model standardises by itself, robustly
    for _ in range(30):
        loss = nn.functional.mse_loss(module(u), u)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    report = export_model(module, held_out, folder, fpr=0.02)
    for form in report.forms:
        print(f"{form.form:<12} {form.path}  {form.n_bytes / 1000:.0f} kB, "
              f"{form.drift.flips_good} good flips")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
