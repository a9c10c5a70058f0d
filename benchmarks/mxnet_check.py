"""Check that Apache MXNet, with which SageMaker writes artifacts, loads this project's and predicts the same.

    python benchmarks/mxnet_check.py /path/to/python-with-mxnet

The argument is a Python with MXNet 1.9.1 (Python 3.8, `pip install mxnet==1.9.1 'numpy<1.24'`). The code that it runs
unpacks the artifacts itself and shares no code with this project.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from linear_learner.formats.artifact import pack_model, write_model
from linear_learner.model import LinearModel, PredictorType

WITH_MXNET = """
import io, os, sys, tarfile, zipfile
import mxnet as mx, numpy as np

archive, rows, scores = sys.argv[1:]
folder = os.path.dirname(archive)
with tarfile.open(archive) as tar:
    zipfile.ZipFile(io.BytesIO(tar.extractfile("model_algo-1").read())).extractall(folder)
data = np.load(rows)
symbol, arguments, auxiliary = mx.model.load_checkpoint(os.path.join(folder, "mx-mod"), 0)
module = mx.mod.Module(symbol, data_names=["data"], label_names=["out_label"], context=mx.cpu())
module.bind(data_shapes=[("data", data.shape)], for_training=False)
module.set_params(arguments, auxiliary)
np.save(scores, module.predict(mx.io.NDArrayIter(data, batch_size=len(data))).asnumpy())
"""
KINDS: list[tuple[PredictorType, str, int]] = [
    ("regressor", "squared_loss", 1),
    ("regressor", "absolute_loss", 1),
    ("binary_classifier", "logistic", 1),
    ("binary_classifier", "hinge_loss", 1),
    ("multiclass_classifier", "softmax_loss", 5),
]


def difference(python: str, model: LinearModel, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
    """Return the largest difference between the scores of MXNet and of this project.

    Differences of probabilities are absolute. Other scores are float32 sums, which the two libraries may compute in
    different orders, so their differences are relative to the sum of the magnitudes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack_model(write_model(model, folder).read_bytes(), folder / "model.tar.gz")
        np.save(folder / "rows.npy", rows)
        files = [folder / "model.tar.gz", folder / "rows.npy", folder / "scores.npy"]
        done = subprocess.run([python, "-c", WITH_MXNET, *files], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        expected = np.load(folder / "scores.npy").reshape(len(rows), -1)
    scores = model.predict(rows).scores.reshape(len(rows), -1)
    is_probability = model.has_sigmoid or model.predictor_type == "multiclass_classifier"
    scale = 1 if is_probability else np.abs(rows) @ np.abs(model.weights) + np.abs(model.bias)
    return float(np.max(np.abs(expected - scores) / scale))


def main(python: str) -> int:
    random = np.random.default_rng(0)
    rows = random.normal(size=(1000, 30)).astype(np.float32)
    worst = 0.0
    for predictor_type, loss, outputs in KINDS:
        weights = random.normal(size=(30, outputs)).astype(np.float32)
        model = LinearModel(predictor_type, loss, weights, random.normal(size=outputs).astype(np.float32))
        found = difference(python, model, rows)
        worst = max(worst, found)
        print(f"{predictor_type:<22} {loss:<14} largest difference in 1000 rows: {found:.1e}")
    print("ok: within 1e-6" if worst <= 1e-6 else "FAILED: not within 1e-6")
    return int(worst > 1e-6)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
