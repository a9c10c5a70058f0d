"""The model artifact of a training job: a gzipped tar with a zip of an MXNet module, read and written in memory.

`model.tar.gz` contains `model_algo-1`, a zip of uncompressed members: the graph (`mx-mod-symbol.json`), the arrays
(`mx-mod-0000.params`), `manifest.json` and `additional-params.json`. Weights are for unscaled data; the graph has no
scaler. Archives are not trusted: nothing is extracted to disk, and sizes are checked before anything is read.
"""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from gzip import GzipFile
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np

from linear_learner.errors import ArtifactError
from linear_learner.formats.mxnet import encode_params, encode_symbol, has_sigmoid, read_params
from linear_learner.model import LinearModel, PredictorType

MAX_BYTES = 512 << 20  # of an archive, compressed or not: 134 million weights
MODEL_FILE = "model_algo-1"

_SYMBOL, _PARAMS = "mx-mod-symbol.json", "mx-mod-0000.params"
_MANIFEST, _ADDITIONAL_PARAMS = "manifest.json", "additional-params.json"
_MAX_MEMBERS = 64
_DAMAGE_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError)
_DAMAGE_ERRORS += (ArithmeticError, struct.error, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def read_model(path: Path) -> LinearModel:
    """The model in `path`, a `model.tar.gz` or a `model_algo-1` extracted from one.

    Raises ArtifactError if the file has another format, is damaged, is larger than 512 MiB unpacked, or contains
    weights that are not finite.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ArtifactError(f"{path.name} has {size} bytes; the limit is {MAX_BYTES}")
    data = path.read_bytes()
    try:
        return _build_model(_zip_members(_unpack_tar(data)))
    except ArtifactError:
        raise
    except _DAMAGE_ERRORS as error:
        raise ArtifactError(f"{path.name} is damaged: {error or type(error).__name__}; download it again") from error


def write_model(model: LinearModel, folder: Path) -> Path:
    """Write `model_algo-1`, which the service then packs, to `folder`; the same model gives the same bytes."""
    additional_params = {
        "threshold": model.threshold,
        "loss_type": model.loss,
        "predictor_type": model.predictor_type,
        "metrics_params": {**model.metrics_params, "threshold": model.threshold},
    }
    content: dict[str, str | bytes] = {
        _SYMBOL: encode_symbol(model),
        _PARAMS: encode_params({"arg:fc0_weight": model.weights, "arg:fc0_bias": model.bias[np.newaxis]}),
        _MANIFEST: json.dumps({"mx-mod": "mxnet_module", _ADDITIONAL_PARAMS: "json", "version": 1}),
        _ADDITIONAL_PARAMS: json.dumps(additional_params),
    }
    path = folder / MODEL_FILE
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # ZipInfo's date is 1980: no clock in the bytes
    return path


def pack_model(content: bytes, path: Path, others: Mapping[str, bytes] | None = None) -> None:
    """Write a `model.tar.gz` of the `model_algo-1` in `content` and of other files by name.

    The same content gives the same bytes.
    """
    with (
        path.open("wb") as raw,
        GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in {MODEL_FILE: content, **(others or {})}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def read_packed_file(path: Path, name: str = MODEL_FILE) -> bytes | None:
    """The content of a file in a `model.tar.gz`; None if the archive does not contain it.

    Raises ArtifactError as `read_model` does.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ArtifactError(f"{path.name} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    try:
        found = _read_tar(path.read_bytes(), name)
    except ArtifactError:
        raise
    except _DAMAGE_ERRORS as error:
        raise ArtifactError(f"{path.name} is damaged: {error or type(error).__name__}; download it again") from error
    return found[0] if found else None


def _unpack_tar(data: bytes) -> bytes:
    """The `model_algo-1` in the archive, or `data` if that is one."""
    if data.startswith(b"PK\x03\x04"):
        return data
    found = _read_tar(data, MODEL_FILE)
    if len(found) != 1:
        raise ArtifactError(f"the archive contains {len(found)} files named {MODEL_FILE!r} instead of one")
    return found[0]


def _read_tar(data: bytes, name: str) -> list[bytes]:
    """The content of each file with this name in the archive, in any folder."""
    if not data.startswith(b"\x1f\x8b"):
        raise ArtifactError("neither a model.tar.gz nor a model_algo-1: it is neither gzip nor zip")
    unpacker = zlib.decompressobj(wbits=31)
    unpacked = unpacker.decompress(data, MAX_BYTES + 1)
    if len(unpacked) > MAX_BYTES:
        raise ArtifactError(f"the archive unpacks to more than the limit of {MAX_BYTES} bytes")
    if not unpacker.eof:
        raise ArtifactError("the archive is truncated; download it again")
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
        members = list(islice(tar, _MAX_MEMBERS + 1))
        found = [member for member in members if _has_name(member, name, len(unpacked))]
        if len(members) > _MAX_MEMBERS:
            raise ArtifactError(f"the archive contains more than {_MAX_MEMBERS} members; a model's contains one")
        contents = [tar.extractfile(member) for member in found]
        return [content.read() if content else b"" for content in contents]


def _has_name(member: tarfile.TarInfo, wanted: str, limit: int) -> bool:
    """Whether the member is a file of this name; ArtifactError unless it is a regular file or a folder."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise ArtifactError(f"the archive contains the path {member.name[:80]!r}, which is outside of it")
    if member.isdir():
        return False
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ArtifactError(f"the archive contains {member.name[:80]!r}, which is a link or a device, not a file")
    if not 0 <= member.size <= limit:
        raise ArtifactError(f"the archive declares {member.size} bytes for {member.name[:80]!r}")
    return name.name == wanted


def _zip_members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) != len(members) or len(members) > _MAX_MEMBERS:
            raise ArtifactError(f"the zip in the archive has a repeated name or more than {_MAX_MEMBERS} members")
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
            raise ArtifactError("the zip in the archive is compressed or encrypted; Linear Learner's is neither")
        if sum(member.file_size for member in members) > len(data):
            raise ArtifactError("the zip in the archive declares more bytes than it has")
        names = (_SYMBOL, _PARAMS, _MANIFEST, _ADDITIONAL_PARAMS)
        if missing := [name for name in names if name not in archive.namelist()]:
            raise ArtifactError(f"the archive has no {' and no '.join(missing)}: it is not a Linear Learner model")
        return {name: archive.read(name) for name in names}


def _build_model(members: dict[str, bytes]) -> LinearModel:
    arrays = read_params(members[_PARAMS])
    weights, bias = arrays.get("arg:fc0_weight"), arrays.get("arg:fc0_bias")
    if weights is None or bias is None:
        raise ArtifactError(f"the model has the arrays {sorted(arrays)} instead of arg:fc0_weight and arg:fc0_bias")
    additional_params = json.loads(members[_ADDITIONAL_PARAMS])
    additional_params = additional_params if isinstance(additional_params, dict) else {}
    predictor_type: Any = additional_params.get("predictor_type")
    loss = additional_params.get("loss_type")
    threshold, metrics_params = additional_params.get("threshold"), additional_params.get("metrics_params") or {}
    if predictor_type not in get_args(PredictorType) or not isinstance(loss, str):
        raise ArtifactError(
            f"{_ADDITIONAL_PARAMS} has predictor_type {predictor_type!r:.60} and loss_type {loss!r:.60}"
        )
    if not isinstance(threshold, float | int) or not np.isfinite(threshold) or not isinstance(metrics_params, dict):
        raise ArtifactError(
            f"{_ADDITIONAL_PARAMS} has threshold {threshold!r:.60} and metrics_params {metrics_params!r:.60}"
        )
    model = LinearModel(predictor_type, loss, weights, bias.reshape(-1), float(threshold), metrics_params)
    if has_sigmoid(members[_SYMBOL]) != model.has_sigmoid:
        raise ArtifactError(f"the graph's output does not fit a {predictor_type} with {loss}")
    if count := np.count_nonzero(~np.isfinite(weights)) + np.count_nonzero(~np.isfinite(bias)):
        raise ArtifactError(
            f"{count} of the model's weights are not finite: its training diverged; lower learning_rate"
        )
    return model
