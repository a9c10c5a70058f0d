"""Model artifacts: real ones survive a round trip, and invalid or malicious ones are refused."""

import io
import json
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from gzip import GzipFile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linear_learner.errors import ArtifactError
from linear_learner.formats import artifact
from linear_learner.formats.artifact import read_model, write_model
from linear_learner.formats.mxnet import encode_params, read_params
from linear_learner.model import LinearModel, PredictorType
from tests.linear_learner.formats.files import write_archive

REAL = [
    "artifacts/binary_adult_aws.model.tar.gz",
    "artifacts/binary_attrition_romeo.model.tar.gz",
    "artifacts/binary_fakenews_5000.model.tar.gz",
    "artifacts/regression_covid_513.model.tar.gz",
    "artifacts/regression_packt_ch12.model.tar.gz",
    "jobs/attrition/model_algo-1",
]
MODEL = LinearModel("binary_classifier", "logistic", np.ones((3, 1), np.float32), np.zeros(1, np.float32), 0.25)
FILES = ("mx-mod-symbol.json", "mx-mod-0000.params", "manifest.json", "additional-params.json")
fuzzed = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tar.gz"


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def untarred(path: Path) -> bytes:
    if not path.name.endswith(".tar.gz"):
        return path.read_bytes()
    with tarfile.open(path) as tar:
        return getattr(tar.extractfile("model_algo-1"), "read", bytes)()


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def tarred(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            member = info if isinstance(info, tarfile.TarInfo) else tarfile.TarInfo(info)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def members_of(model: LinearModel, folder: Path) -> dict[str, bytes]:
    return unzipped(write_model(model, folder).read_bytes())


def without_counters(symbol: bytes) -> Any:
    """The graph without the counters that MXNet appends to the names of operations."""
    graph = json.loads(symbol)
    for node in graph["nodes"]:
        if node["op"] != "null":
            node["name"] = re.sub(r"\d+$", "", node["name"])
    return graph


@pytest.mark.parametrize("name", REAL)
def test_a_real_artifact_survives_a_round_trip(corpus: Path, tmp_path: Path, name: str) -> None:
    real = unzipped(untarred(corpus / name))
    ours = members_of(read_model(corpus / name), tmp_path)
    assert encode_params(read_params(real["mx-mod-0000.params"])) == real["mx-mod-0000.params"]
    assert read_params(ours["mx-mod-0000.params"]).keys() == read_params(real["mx-mod-0000.params"]).keys()
    assert without_counters(ours["mx-mod-symbol.json"]) == without_counters(real["mx-mod-symbol.json"])
    for file in ("manifest.json", "additional-params.json"):
        assert json.loads(ours[file]) == json.loads(real[file])


@pytest.mark.parametrize("name", [name for name in REAL if "attrition" in name or "adult" in name])
def test_arrays_and_parameters_equal_those_of_the_newest_container_byte_for_byte(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    real, ours = unzipped(untarred(corpus / name)), members_of(read_model(corpus / name), tmp_path)
    for file in ("mx-mod-0000.params", "manifest.json", "additional-params.json"):
        assert ours[file] == real[file]


KINDS: list[tuple[PredictorType, str]] = [
    ("regressor", "squared_loss"),
    ("regressor", "quantile_loss"),
    ("binary_classifier", "logistic"),
    ("binary_classifier", "hinge_loss"),
    ("multiclass_classifier", "softmax_loss"),
]
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def models(draw: st.DrawFn) -> LinearModel:
    kind, loss = draw(st.sampled_from(KINDS))
    outputs = draw(st.integers(3, 6)) if kind == "multiclass_classifier" else 1
    weights = draw(hnp.arrays(np.float32, (draw(st.integers(1, 30)), outputs), elements=FLOATS))
    bias = draw(hnp.arrays(np.float32, outputs, elements=FLOATS))
    return LinearModel(kind, loss, weights, bias, draw(FLOATS), {"quantile": draw(st.none() | st.floats(0, 1))})


@fuzzed
@given(model=models())
def test_a_written_model_is_read_back_unchanged(tmp_path: Path, path: Path, model: LinearModel) -> None:
    write_archive(model, path)
    first = path.read_bytes()
    for reread in (read_model(path), read_model(write_model(model, tmp_path))):
        assert (reread.predictor_type, reread.loss, reread.threshold) == (
            model.predictor_type,
            model.loss,
            model.threshold,
        )
        assert reread.metrics_params["quantile"] == model.metrics_params["quantile"]
        np.testing.assert_array_equal(reread.weights, model.weights)
        np.testing.assert_array_equal(reread.bias, model.bias)
        write_archive(reread, path)
        assert read_model(path).metrics_params == reread.metrics_params
    write_archive(model, path)
    assert path.read_bytes() == first


def test_an_archive_contains_neither_time_nor_user(path: Path) -> None:
    write_archive(MODEL, path)
    assert path.read_bytes()[3:8] == b"\0\0\0\0\0"
    with tarfile.open(path) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.mtime, member.uid, member.uname, member.mode) == ("model_algo-1", 0, 0, "", 0o644)


def test_a_repacked_archive_with_folders_and_extra_files_is_read(path: Path, tmp_path: Path) -> None:
    folder = tarfile.TarInfo("./code")
    folder.type = tarfile.DIRTYPE
    model = write_model(MODEL, tmp_path).read_bytes()
    path.write_bytes(tarred((folder, b""), ("./code/inference.py", b"pass"), ("./model_algo-1", model)))
    assert read_model(path).threshold == 0.25


def link(kind: bytes, name: str = "model_algo-1") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither gzip nor zip"),
        (b"PK\x03\x04", "is damaged"),
        (b"\x1f\x8b", "truncated"),
        (b"\x1f\x8b" + b"\xff" * 30, "is damaged"),
        (tarred(), "contains 0 files named 'model_algo-1'"),
        (tarred(("model_algo-1", b""), ("x/model_algo-1", b"")), "contains 2 files named"),
        (tarred(("model.pkl", b"pickle")), "contains 0 files named"),
        (tarred(("model_algo-1", b"no zip")), "is damaged: File is not a zip file"),
        (tarred(("../model_algo-1", b"")), "is outside of it"),
        (tarred(("/model_algo-1", b"")), "is outside of it"),
        (tarred((link(tarfile.SYMTYPE), b"")), "a link or a device"),
        (tarred((link(tarfile.LNKTYPE), b"")), "a link or a device"),
        (tarred((link(tarfile.CHRTYPE, "zero"), b"")), "a link or a device"),
        (tarred((link(tarfile.FIFOTYPE, "pipe"), b"")), "a link or a device"),
        (tarred(*[(str(number), b"") for number in range(70)]), "more than 64 members"),
    ],
    ids=range(15),  # the content, of which pytest would make an id, contains the time
)
def test_an_invalid_archive_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_model(path)


def test_a_truncated_archive_is_refused(path: Path) -> None:
    write_archive(MODEL, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"truncated|neither gzip"):
            read_model(path)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "MAX_BYTES", 1 << 20)
    buffer = io.BytesIO()
    with GzipFile(fileobj=buffer, mode="wb") as packed:
        packed.write(bytes(2 << 20))
    path.write_bytes(buffer.getvalue())
    assert len(buffer.getvalue()) < 10_000
    with pytest.raises(ArtifactError, match="unpacks to more than the limit of 1048576 bytes"):
        read_model(path)
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(ArtifactError, match="has 2097152 bytes; the limit is 1048576"):
        read_model(path)


def with_member_size(archive: bytes, size: int) -> bytes:
    """The tar with a different size, and a matching checksum, in its first header."""
    with GzipFile(fileobj=io.BytesIO(archive)) as packed:
        header = bytearray(packed.read())
    header[124:136] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    buffer = io.BytesIO()
    with GzipFile(fileobj=buffer, mode="wb") as packed:
        packed.write(header)
    return buffer.getvalue()


def test_a_declared_size_larger_than_the_archive_is_refused(path: Path, tmp_path: Path) -> None:
    model = write_model(MODEL, tmp_path).read_bytes()
    path.write_bytes(with_member_size(tarred(("model_algo-1", model)), 8 << 30))
    with pytest.raises(ArtifactError, match=r"declares 8589934591 bytes|declares 8589934592 bytes|damaged"):
        read_model(path)


def test_a_zip_with_compression_too_many_members_or_a_false_size_is_refused(path: Path, tmp_path: Path) -> None:
    members = members_of(MODEL, tmp_path)
    path.write_bytes(zipped(members, zipfile.ZIP_DEFLATED))
    with pytest.raises(ArtifactError, match="compressed or encrypted"):
        read_model(path)
    path.write_bytes(zipped({f"{number}": b"" for number in range(70)}))
    with pytest.raises(ArtifactError, match="repeated name or more than 64 members"):
        read_model(path)
    unchanged = zipped(members)
    entry = unchanged.rindex(b"PK\x01\x02")
    path.write_bytes(unchanged[: entry + 20] + struct.pack("<II", 1 << 30, 1 << 30) + unchanged[entry + 28 :])
    with pytest.raises(ArtifactError, match="declares more bytes than it has"):
        read_model(path)


def test_parameters_that_are_no_object_are_refused(path: Path, tmp_path: Path) -> None:
    path.write_bytes(zipped(members_of(MODEL, tmp_path) | {"additional-params.json": b"[]"}))
    with pytest.raises(ArtifactError, match="has predictor_type None and loss_type None"):
        read_model(path)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_member_is_reported(path: Path, tmp_path: Path, file: str) -> None:
    members = members_of(MODEL, tmp_path)
    del members[file]
    path.write_bytes(zipped(members))
    with pytest.raises(ArtifactError, match=f"has no {file}: it is not a Linear Learner model"):
        read_model(path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("additional-params.json", b"0.25", b'"0.25"', "has threshold '0.25'"),
        ("additional-params.json", b"0.25", b"NaN", "has threshold nan"),
        ("additional-params.json", b'"binary_classifier"', b'"clusterer"', "has predictor_type 'clusterer'"),
        ("additional-params.json", b'"logistic"', b"3", "loss_type 3"),
        (
            "additional-params.json",
            b'"logistic"',
            b'"hinge_loss"',
            "output does not fit a binary_classifier with hinge",
        ),
        ("additional-params.json", b'"binary_classifier"', b'"multiclass_classifier"', "is damaged: a multiclass"),
        ("additional-params.json", b"{", b"[", "is damaged"),
        ("mx-mod-symbol.json", b"LogisticRegressionOutput", b"LinearRegressionOutput", "output does not fit"),
        ("mx-mod-symbol.json", b"fc0_weight", b"fc1_weight", "does not have the inputs data, fc0_weight"),
        ("mx-mod-symbol.json", b'"nodes"', b'"knots"', "not an MXNet symbol"),
        ("mx-mod-0000.params", b"arg:fc0_bias", b"arg:fc1_bias", "instead of arg:fc0_weight and arg:fc0_bias"),
        ("mx-mod-0000.params", b"\x12\x01", b"\x13\x01", "starts with 0x113 instead of MXNet's 0x112"),
        (
            "mx-mod-0000.params",
            struct.pack("<f", 1),
            struct.pack("<f", np.nan),
            "3 of the model's weights are not finite",
        ),
    ],
)
def test_an_invalid_member_is_refused_with_its_error(
    path: Path, file: str, old: bytes, new: bytes, message: str
) -> None:
    members = members_of(MODEL, path.parent)
    assert old in members[file]
    path.write_bytes(zipped(members | {file: members[file].replace(old, new)}))
    with pytest.raises(ArtifactError, match=message):
        read_model(path)


def edit(form: str, offset: int, *values: int) -> Callable[[bytes], bytes]:
    packed = struct.pack(form, *values)
    return lambda content: content[:offset] + packed + content[offset + len(packed) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("<Q", 16, 1 << 60), "declares 1152921504606846976 arrays"),
        (edit("<I", 24, 0xF993FAC8), "not dense: 0xf993fac8"),
        (edit("<i", 28, 1), "not dense: 0xf993fac9, 1"),
        (edit("<I", 32, 1 << 31), "not dense"),
        (edit("<I", 32, 0), "not dense"),
        (edit("<q", 36, 1 << 62), "is truncated: 18446744073709551616 bytes are needed"),
        (edit("<q", 36, -1), r"of shape \(-1, 1\)"),
        (edit("<q", 36, 0), r"of shape \(0, 1\)"),
        (edit("<i", 60, 1), "MXNet dtype 1; float32"),
        (edit("<Q", 120, 3), "different numbers of names and arrays"),
        (edit("<Q", 128, 1 << 40), "array name of 1099511627776 bytes"),
        (lambda content: content + b"\0", "data after its last name"),
        (lambda content: content[:-1], "is truncated"),
        (lambda content: content[:10], "is truncated"),
    ],
)
def test_an_invalid_params_file_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    content = members_of(MODEL, tmp_path)["mx-mod-0000.params"]
    with pytest.raises(ArtifactError, match=message):
        read_params(change(content))


@fuzzed
@given(content=st.binary(max_size=200), head=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b", b"\x1f\x8b\x08\0"]))
def test_arbitrary_bytes_raise_an_artifact_error(path: Path, content: bytes, head: bytes) -> None:
    path.write_bytes(head + content)
    with pytest.raises(ArtifactError):
        read_model(path)


@st.composite
def flipped_bits(draw: st.DrawFn, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        changed[draw(st.integers(0, 1 << 16)) % len(content)] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


@settings(fuzzed, max_examples=250)
@given(data=st.data(), layer=st.sampled_from(["gzip", "tar", "zip", *FILES]))
def test_flipped_bits_in_any_layer_raise_only_artifact_errors(
    tmp_path: Path, path: Path, data: st.DataObject, layer: str
) -> None:
    members = members_of(replace(MODEL, threshold=0.5), tmp_path)
    if layer in members:
        members[layer] = data.draw(flipped_bits(members[layer]))
    inner = zipped(members)
    if layer == "zip":
        inner = data.draw(flipped_bits(inner))
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo("model_algo-1")
        info.size = len(inner)
        tar.addfile(info, io.BytesIO(inner))
    content = plain.getvalue()[:4096] if layer == "tar" else plain.getvalue()
    packed = io.BytesIO()
    with GzipFile(fileobj=packed, mode="wb", mtime=0) as gzip:
        gzip.write(data.draw(flipped_bits(content)) if layer == "tar" else content)
    path.write_bytes(data.draw(flipped_bits(packed.getvalue())) if layer == "gzip" else packed.getvalue())
    try:
        outcome: object = read_model(path)
    except ArtifactError as error:
        outcome = str(error)
    assert outcome
