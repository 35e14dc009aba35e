"""Wrong and unknown options: exit code 2, a message that says what is right, nothing written."""

from __future__ import annotations

import shutil

import pytest
from workplace import Desk

SCORE = ("score", "MODEL", "LOT", "-o", "v.csv")
TRAIN = ("train", "OLD", "-o", "out", "--quiet")
EXPORT = ("export", "TRAINED", "-o", "out", "--quiet")
BENCH = ("bench", "MODEL", "--json", "b.json")
REPORT = ("report", "VERDICTS", "-o", "r.html")

CASES: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ("score", "train"),
    ("scroe",): ("no verb 'scroe'", "score"),
    ("--colour",): ("unrecognized arguments: --colour",),
    ("score",): ("MODEL", "INPUT", "-o/--output"),
    ("score", "MODEL"): ("INPUT",),
    ("score", "MODEL", "LOT"): ("-o/--output",),
    (*SCORE, "--colour"): ("unrecognized arguments: --colour",),
    (*SCORE, "--fpr", "low"): ("--fpr", "'low'"),
    (*SCORE, "--fpr", "0.3"): ("30.0000%", "Supported here", "0.02"),
    (*SCORE, "--fpr", "nan"): ("nan", "Supported here"),
    (*SCORE, "--fpr", "0.0005"): ("0.05%", "fewer than 10 are expected", "--extrapolate"),
    (*SCORE, "--engine", "litert"): ("litert", ".onnx"),
    (*SCORE, "--engine", "native"): ("native",),
    (*SCORE, "--engine", "gpu"): ("gpu", "onnxruntime"),
    (*SCORE, "--good-if", "hard_bin === 1"): ("hard_bin === 1",),
    (*SCORE, "--good-if", ""): ("condition",),
    ("score", "MODEL", "LOT", "-o", "v.xlsx"): ("v.xlsx", ".csv or .parquet"),
    ("score", "MODEL", "LOT", "-o", "nowhere/v.csv"): ("nowhere",),
    ("train",): ("INPUT", "-o/--out"),
    (*TRAIN, "--head", "best"): ("best", "topk"),
    (*TRAIN, "--hidden", "wide"): ("--hidden", "256,128", "'wide'"),
    (*TRAIN, "--hidden", "64,0"): ("0",),
    (*TRAIN, "--latent", "0"): ("latent", "0"),
    (*TRAIN, "--epochs", "0"): ("epochs", "0"),
    (*TRAIN, "--epochs", "many"): ("--epochs", "'many'"),
    (*TRAIN, "--dropout", "1"): ("dropout", "1"),
    (*TRAIN, "--l2", "-1"): ("-1",),
    (*TRAIN, "--batch-size", "0"): ("batch", "0"),
    (*TRAIN, "--learning-rate", "nan"): ("learning_rate", "nan"),
    (*TRAIN, "--learning-rate", "-1"): ("learning_rate", "-1"),
    (*TRAIN, "--noise", "pink"): ("pink", "gaussian"),
    (*TRAIN, "--noise", "masking", "--noise-level", "2"): ("2",),
    (*TRAIN, "--top-k", "0"): ("k", "0"),
    (*TRAIN, "--fpr", "1.5"): ("1.5",),
    (*TRAIN, "--fpr", "0"): ("0",),
    (*TRAIN, "--folds", "1"): ("folds", "1"),
    (*TRAIN, "--folds", "-1"): ("folds", "-1"),
    (*TRAIN, "--patience", "0"): ("patience", "0"),
    (*TRAIN, "--threads", "0"): ("threads", "0"),
    (*TRAIN, "--seed", "-1"): ("seed", "-1"),
    (*TRAIN, "--good-if", "bin ~ 1"): ("bin ~ 1",),
    ("export", "TRAINED"): ("-o/--out",),
    (*EXPORT, "--formats", "onnx,pb"): ("'pb'", "kgd, onnx, tflite"),
    (*EXPORT, "--formats", "kgd", "--precision", "int16x8"): ("'int16x8'", "tflite only"),
    (*EXPORT, "--formats", ""): ("format", "onnx, tflite"),
    (*EXPORT, "--precision", "int4"): ("'int4'", "fp32, int8"),
    (*EXPORT, "--fpr", "0"): ("0",),
    (*EXPORT, "--fpr", "nan"): ("nan",),
    ("bench",): ("model",),
    (*BENCH, "--batches", "0"): ("--batches", "'0'"),
    (*BENCH, "--batches", "1,,8"): ("--batches", "'1,,8'"),
    (*BENCH, "--batches", "1", "--seconds", "-1"): ("--seconds", "-1"),
    (*BENCH, "--batches", "1", "--seconds", "nan"): ("--seconds", "nan"),
    (*BENCH, "--engine", "gpu"): ("gpu", "onnxruntime"),
    (*BENCH, "--idle-ms", "0"): ("--idle-ms", "0"),
    (*BENCH, "--idle-ms", "long"): ("--idle-ms", "'long'"),
    (*BENCH, "--core", "-2"): ("--core", "-2"),
    (*BENCH, "--core", "4095"): ("--core 4095", "cores"),
    (*BENCH, "--core", "first"): ("--core", "'first'"),
    ("bench", "MODEL", "--json", "nowhere/b.json", "--batches", "1"): ("nowhere",),
    ("report", "VERDICTS"): ("-o/--output",),
    ("report", "VERDICTS", "-o", "nowhere/r.html"): ("nowhere",),
    ("report", "VERDICTS", "-o", "r.pdf"): ("r.pdf", ".html"),
    ("report", "VERDICTS", "-o", "out"): ("out", "folder"),
    ("score", "MODEL", "LOT", "-o", "."): (".csv or .parquet",),
    ("bench", "MODEL", "--json", "out", "--batches", "1"): ("out", "folder"),
    (*REPORT, "--model", "OTHER"): ("OTHER", "not the model of these verdicts"),
    (*REPORT, "--lot", "OLD"): ("OLD", "not the file that was scored"),
    (*REPORT, "--lot", "LOT", "LOT"): ("1 lot", "2 were given"),
    ("demo", "--colour"): ("unrecognized arguments: --colour",),
    ("inspect",): ("FILE",),
}


def spelled(desk: Desk, word: str) -> str:
    place = desk.workplace
    names = {
        "MODEL": place.model,
        "OTHER": place.model.with_name("model.tflite"),
        "LOT": place.new_lot,
        "OLD": place.lots[0],
        "TRAINED": place.trained,
        "VERDICTS": place.verdicts,
    }
    return str(names.get(word, word))


@pytest.mark.parametrize("case", [pytest.param(c, id=" ".join(c) or "nothing") for c in CASES])
def test_refused_with_exit_code_2(desk: Desk, case: tuple[str, ...]) -> None:
    (desk.folder / "out").mkdir()
    names_options = len(case) < 4 or "-o" not in case
    says = [w if names_options else spelled(desk, w) for w in CASES[case]]
    desk.refuses(2, tuple(says), *(spelled(desk, word) for word in case))


OVERWRITING: tuple[tuple[str, ...], ...] = (
    ("score", "model.onnx", "lot.csv", "-o", "lot.csv"),
    ("score", "model.onnx", "lot.csv", "-o", "link.csv"),
    ("report", "verdicts.csv", "-o", "verdicts.csv"),
    ("report", "verdicts.csv", "-o", "verdicts.csv.run.json"),
    ("report", "verdicts.csv", "-o", "model.onnx", "--model", "model.onnx"),
    ("report", "verdicts.csv", "-o", "new.stdf", "--lot", "new.stdf"),
    ("bench", "model.onnx", "--json", "model.onnx", "--batches", "1", "--seconds", "0.01"),
)


@pytest.mark.parametrize("arguments", [pytest.param(c, id=" ".join(c)) for c in OVERWRITING])
def test_what_is_read_is_never_overwritten(desk: Desk, arguments: tuple[str, ...]) -> None:
    place = desk.workplace
    run_record = place.verdicts.with_name("verdicts.csv.run.json")
    for source in (place.model, place.verdicts, run_record, place.new_lot):
        shutil.copy(source, desk.folder)
    header = ",".join(t.label for t in place.read_new_lot().schema.tests)
    (desk.folder / "lot.csv").write_text(f"{header}\n{','.join('1' * 24)}\n")
    (desk.folder / "link.csv").symlink_to("lot.csv")
    desk.refuses(2, ("also what is read",) if arguments[0] != "report" else (".html",), *arguments)
