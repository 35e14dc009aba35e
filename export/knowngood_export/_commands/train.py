"""``knowngood train``: from lots to ``model.pt``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from knowngood._commands._protocol import Command
from knowngood._errors import UsageError

if TYPE_CHECKING:
    from knowngood_export.train_lots import LotTrainingConfig

_HEADS = ("auto", "topk", "mahalanobis", "normalized", "mse")
_NOISES = ("gaussian", "salt_and_pepper", "masking")
_ACTIVATIONS = ("relu", "leaky_relu", "elu", "sigmoid", "tanh")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="lots: STDF (also .gz), CSV, Parquet, .npz, .npy"
    )
    parser.add_argument(
        "-o", "--out", metavar="DIR", required=True, help="folder for model.pt and training.json"
    )
    parser.add_argument("--good-if", metavar="EXPR", help="which dies are good: 'hard_bin == 1'")
    parser.add_argument("--no-trim", action="store_true", help="keep gross outliers among the good")
    parser.add_argument(
        "--head", choices=_HEADS, default="auto",
        help="score head; auto takes the best for these dies at the default yield loss (auto)",
    )  # fmt: skip
    parser.add_argument(
        "--top-k",
        type=int,
        default=5,
        metavar="K",
        help="residuals of --head topk (5)",
    )
    parser.add_argument("--groups", action="store_true", help="a scaler for each head and site")
    parser.add_argument("--fpr", type=float, default=0.005, help="default yield loss (0.005)")
    parser.add_argument(
        "--folds", type=int, metavar="N",
        help="cross-validate the yardstick; 0 never, default 5 for small lots",
    )  # fmt: skip
    parser.add_argument(
        "--no-cross-fit",
        action="store_true",
        help="with 20 lots or more, do not train further networks for the thresholds",
    )
    _add_network_options(parser.add_argument_group("network and training"))
    parser.add_argument("--json", action="store_true", help="print training.json, not the summary")
    parser.add_argument("--quiet", action="store_true", help="print nothing, show no progress")


def _add_network_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--hidden", metavar="256,128", help="encoder widths (by number of tests)")
    group.add_argument("--latent", type=int, metavar="N", help="code width (by number of tests)")
    group.add_argument("--activation", choices=_ACTIVATIONS, default="relu", help="(relu)")
    group.add_argument("--dropout", type=float, default=0.0, metavar="SHARE", help="(0)")
    group.add_argument("--l2", type=float, default=0.0, metavar="DECAY", help="weight decay (0)")
    group.add_argument("--noise", choices=_NOISES, help="denoising training")
    group.add_argument("--noise-level", type=float, default=0.1, help="sigma or share (0.1)")
    group.add_argument("--epochs", type=int, metavar="N", help="passes (by number of dies)")
    group.add_argument("--patience", type=int, metavar="N", help="stop after N epochs in vain")
    group.add_argument("--batch-size", type=int, default=256, metavar="N", help="(256)")
    group.add_argument(
        "--learning-rate", type=float, metavar="X", help="(0.015, less for few dies)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (1)")


def _run(args: argparse.Namespace) -> int:
    from knowngood._atomic import write_together
    from knowngood_export._trained import model_bytes
    from knowngood_export._training_summary import summarise, training_record
    from knowngood_export.train_lots import train_lots

    config, out = _config(args), _folder(args.out)
    model = train_lots(args.inputs, config=config, good_if=args.good_if, progress=not args.quiet)
    record = json.dumps(training_record(model), indent=1, allow_nan=False)
    files = {out / "model.pt": model_bytes(model), out / "training.json": record.encode()}
    write_together(files)
    if args.json:
        print(record)
    elif not args.quiet:
        print(summarise(model))
        print(f"written     {out / 'model.pt'} and {out / 'training.json'}")
    return 0


def _folder(name: str) -> Path:
    """The output folder, made before the long work so that it cannot fail for this after it."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def _config(args: argparse.Namespace) -> LotTrainingConfig:
    from knowngood_export._corruption import Noise
    from knowngood_export._fit import AutoencoderConfig
    from knowngood_export._training import TrainingRecipe
    from knowngood_export.train_lots import LotTrainingConfig

    recipe = TrainingRecipe(
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=args.l2,
        patience=args.patience,
        noise=Noise(args.noise, args.noise_level) if args.noise else None,
        seed=args.seed,
        n_threads=args.threads,
    )
    autoencoder = AutoencoderConfig(
        hidden=_widths(args.hidden),
        latent=args.latent,
        activation=args.activation,
        dropout=args.dropout,
        head=args.head,
        k=args.top_k,
        site_groups=args.groups,
        fpr=args.fpr,
        recipe=recipe,
    )
    return LotTrainingConfig(
        autoencoder,
        trim=not args.no_trim,
        n_folds=args.folds,
        cross_fit=not args.no_cross_fit,
    )


def _widths(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--hidden takes widths with commas between them, such as 256,128; found {text!r}"
        ) from error


command = Command("train", "learn what good dies look like, from lots", _configure, _run)
