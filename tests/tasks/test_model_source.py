"""Runs, packages and folders name a model; every mistake is one sentence with the name of what is wrong."""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aws.errors import AwsError
from aws.registry import ApprovalStatus, Package, Registration, decide_approval, register
from aws.workspace import Workspace, split_uri
from linear_learner.errors import ArtifactError, LinearLearnerError
from linear_learner.formats.artifact import pack_model, write_model
from linear_learner.model import LinearModel
from linear_learner.schema import LabelSchema, NumberColumn, Schema
from sandbox.client import make_workspace
from tasks.data.source import Source, TablePart
from tasks.model_source import ModelSource, fetch_model, find_model
from tasks.record import RecordedData, RunRecord
from tasks.register import MODEL_SHA256_KEY, SCHEMA_KEY, SCHEMA_SHA256_KEY

SCHEMA = Schema(label=LabelSchema(name="pay"), columns=(NumberColumn(name="age"), NumberColumn(name="score")))
MODEL = LinearModel("regressor", "squared_loss", np.array([[2], [3]], np.float32), np.array([1], np.float32))
ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package"


def make_record(model_uri: str, sha256: str, schema: dict[str, str]) -> RunRecord:
    part = TablePart(uri="s3://b/t.csv", size=1, etag="e")
    return RunRecord(
        format=1,
        parameters={},
        data=RecordedData(
            source=Source(uri=part.uri, parts=(part,)), holdout=None, rows=9, columns=("age", "pay"), target="pay"
        ),
        features=SCHEMA.features,
        channels=(),
        fingerprint="f",
        training_job="job",
        request={
            "AlgorithmSpecification": {"TrainingImage": "image"},
            "HyperParameters": {},
            "ResourceConfig": {"InstanceCount": 1},
        },
        model={"uri": model_uri, "sha256": sha256},
        table_schema=schema,
        versions={},
        metrics={},
    )


@dataclass
class Scene:
    """Models in folders, in S3 and in the registry; `names` has what the tests call them by."""

    workspace: Workspace
    folder: Path
    archive: bytes
    names: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, content: bytes) -> str:
        bucket, _ = split_uri(self.workspace.uri())
        self.workspace.client("s3").put_object(Bucket=bucket, Key=self.workspace.key(key), Body=content)
        return self.workspace.uri(key)

    def write(self, path: str, content: bytes) -> str:
        location = self.folder / path
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content)
        return str(location)

    def store_run(self, store: Callable[[str, bytes], str], place: str, **changes: Any) -> str:
        """Store a model with its schema and record, of which `changes` replaces fields; returns its folder."""
        model = store(f"{place}/model.tar.gz", self.archive)
        schema = store(f"{place}/schema.json", SCHEMA.to_json().encode())
        record = make_record(model, sha256_of(self.archive), {"uri": schema, "sha256": SCHEMA.sha256})
        content = {**record.model_dump(mode="json"), **changes}
        store(f"{place}/run.json", json.dumps(content).encode())
        return model.rpartition("/")[0]

    def register(
        self, group: str, status: ApprovalStatus, model: str, metadata: dict[str, str] | None = None
    ) -> Package:
        job = f"linear-learner-{uuid.uuid4().hex[:20]}"
        registration = Registration(
            group=group,
            training_job=job,
            training_job_arn=f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{job}",
            image="382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1",
            model_uri=model,
            description="a model",
            metrics_uri="s3://b/run.json",
            metadata={"verdict": "promoted", **(metadata or {})},
            status="PendingManualApproval",
            approval_description="a reason",
        )
        return decide_approval(self.workspace, register(self.workspace, registration), status, "a reason")

    def expand(self, where: str) -> str:
        """Replace the names in braces by what they stand for."""
        return where.format_map(self.names)


def sha256_of(content: bytes) -> str:
    from hashlib import sha256

    return sha256(content).hexdigest()


@pytest.fixture(scope="module")
def scene(sandbox_url: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    workspace, folder = make_workspace(sandbox_url), tmp_path_factory.mktemp("scene")
    workspace.prefix = f"tests/{uuid.uuid4().hex}"
    pack_model(write_model(MODEL, folder).read_bytes(), folder / "packed.tar.gz")
    made = Scene(workspace, folder, (folder / "packed.tar.gz").read_bytes())
    names, tag = made.names, uuid.uuid4().hex[:12]
    names |= {"tag": tag, "folder": str(folder), "prefix": workspace.uri(), "arn": ARN}
    names["run"], names["local"] = made.store_run(made.put, "run"), made.store_run(made.write, "run")
    checksums = {MODEL_SHA256_KEY: sha256_of(made.archive), SCHEMA_SHA256_KEY: SCHEMA.sha256}
    complete = {**checksums, SCHEMA_KEY: f"{names['run']}/schema.json"}
    model = f"{names['run']}/model.tar.gz"
    made.register(f"sales-{tag}", "Approved", model, complete)
    made.register(f"sales-{tag}", "PendingManualApproval", model, complete)
    made.register(f"sales-{tag}", "Rejected", model, complete)
    made.register(f"waiting-{tag}", "PendingManualApproval", model)
    made.register(f"waiting-{tag}", "PendingManualApproval", model, complete)
    made.register(f"refused-{tag}", "Rejected", model)
    alone = made.put("alone/model.tar.gz", made.archive)
    made.register(f"others-{tag}", "Approved", alone)
    made.register(f"others-{tag}", "Approved", alone, complete | {SCHEMA_SHA256_KEY: "0" * 64})
    made.register(f"others-{tag}", "Approved", alone, checksums)
    made.register(f"others-{tag}", "Approved", model, complete | {MODEL_SHA256_KEY: "0" * 64})
    made.register(f"others-{tag}", "Approved", made.put("text/model.tar.gz", b"not an archive"))
    made.register(f"others-{tag}", "Approved", workspace.uri("deleted/model.tar.gz"))
    workspace.client("sagemaker").create_model_package_group(ModelPackageGroupName=f"empty-{tag}")
    workspace.client("sagemaker").create_model_package(
        ModelPackageGroupName=f"others-{tag}", ModelApprovalStatus="Approved"
    )
    return made


def use(scene: Scene, where: str, folder: Path, *, allow: bool = False) -> tuple[ModelSource, LinearModel]:
    source = find_model(scene.workspace, scene.expand(where), allow_unapproved=allow)
    model, schema = fetch_model(scene.workspace, source, folder)
    assert schema == source.table_schema
    return source, model


@pytest.mark.parametrize(
    ("where", "version"),
    [
        ("sales-{tag}", 1),
        ("sales-{tag}/1", 1),
        ("{arn}/sales-{tag}/1", 1),
        ("{run}", None),
        ("{run}/", None),
        ("{run}/model.tar.gz", None),
        ("{run}/run.json", None),
        ("{local}", None),
        ("file://{local}/", None),
        ("{local}/model.tar.gz", None),
        ("{local}/run.json", None),
    ],
)
def test_a_model_is_found_with_its_schema_package_and_checksum(
    scene: Scene, tmp_path: Path, where: str, version: int | None
) -> None:
    source, model = use(scene, where, tmp_path)
    assert source.table_schema == SCHEMA
    assert source.sha256 == sha256_of(scene.archive)
    assert (source.package and source.package.version) == version
    assert model.feature_names == ("age", "score")
    assert model.predict([[1, 1]]).scores.tolist() == [6]
    assert ModelSource.model_validate_json(source.model_dump_json()) == source


def test_a_model_on_this_machine_is_read_where_it_is(scene: Scene, tmp_path: Path) -> None:
    use(scene, "{local}", tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("where", "version"), [("sales-{tag}/2", 2), ("sales-{tag}/3", 3), ("sales-{tag}", 1)])
def test_a_package_that_is_not_approved_is_used_if_that_is_allowed(
    scene: Scene, tmp_path: Path, where: str, version: int
) -> None:
    source, _ = use(scene, where, tmp_path, allow=True)
    assert source.package
    assert source.package.version == version


def test_of_a_group_without_an_approved_package_the_newest_that_waits_is_used_if_that_is_allowed(
    scene: Scene, tmp_path: Path
) -> None:
    source, _ = use(scene, "waiting-{tag}", tmp_path, allow=True)
    assert str(source).startswith(f"version 2 of waiting-{scene.names['tag']}, ")


def test_the_schema_of_a_package_without_metadata_is_found_beside_the_model(scene: Scene, tmp_path: Path) -> None:
    source, _ = use(scene, "waiting-{tag}/1", tmp_path, allow=True)
    assert source.table_schema == SCHEMA
    assert source.sha256 == sha256_of(scene.archive)


def test_a_package_of_others_is_a_model_without_schema(scene: Scene, tmp_path: Path) -> None:
    source, model = use(scene, "others-{tag}/1", tmp_path)
    assert (source.table_schema, source.features, source.sha256) == (None, None, None)
    assert model.feature_names is None


@pytest.mark.parametrize("store", [Scene.put, Scene.write])
def test_a_record_of_an_earlier_version_has_feature_names_and_no_schema(
    scene: Scene, tmp_path: Path, store: Callable[..., str]
) -> None:
    place = scene.store_run(lambda *file: store(scene, *file), f"old-{store.__name__}", table_schema={})
    source, model = use(scene, f"{place}/run.json", tmp_path)
    assert source.table_schema is None
    assert source.features == model.feature_names == ("age", "score")


def test_a_record_alone_leads_to_the_model_and_the_schema_in_s3(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "copied.json"
    bucket, key = split_uri(f"{scene.names['run']}/run.json")
    scene.workspace.client("s3").download_file(bucket, key, str(path))
    source, _ = use(scene, str(path), tmp_path / "work")
    assert source.location == f"{scene.names['run']}/model.tar.gz"
    assert source.table_schema == SCHEMA


def test_a_folder_of_the_name_of_a_group_is_a_folder(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"sales-{scene.names['tag']}"
    (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / name / "1" / "model.tar.gz").write_bytes(scene.archive)
    source, _ = use(scene, f"{name}/1", tmp_path)
    assert (source.package, source.location) == (None, str(tmp_path / name / "1" / "model.tar.gz"))


OTHER = SCHEMA.model_copy(update={"columns": (*SCHEMA.columns, NumberColumn(name="more"))})
CLASSES = SCHEMA.model_copy(update={"label": LabelSchema(name="pay", classes=("no", "yes"))})


@pytest.fixture(scope="module")
def mistakes(scene: Scene) -> Scene:
    """The scene with folders in which something is wrong."""
    for name, schema in {"features": OTHER, "classes": CLASSES}.items():
        scene.write(f"{name}/model.tar.gz", scene.archive)
        scene.write(f"{name}/schema.json", schema.to_json().encode())
    scene.write("damaged/model.tar.gz", scene.archive[:-30])
    scene.write("others/run.json", b'{"a": 1}')
    scene.store_run(scene.write, "newer", format=99)
    scene.store_run(scene.write, "changed")
    scene.write("changed/model.tar.gz", scene.archive + b"x")
    scene.store_run(scene.write, "edited")
    scene.write("edited/schema.json", OTHER.to_json().encode())
    scene.store_run(scene.put, "lost", table_schema={"uri": scene.workspace.uri("no/schema.json"), "sha256": "0" * 64})
    bucket, key = split_uri(scene.workspace.uri("lost/schema.json"))
    scene.workspace.client("s3").delete_object(Bucket=bucket, Key=key)
    return scene


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("salez-{tag}", r"no model package group 'salez-\w+', and no such folder. Did you mean 'sales-\w+'\?"),
        ("qqq", r"no model package group 'qqq', and no such folder. Check the name and the workspace's region"),
        ("empty-{tag}", r"group 'empty-\w+' has no versions"),
        ("sales-{tag}/7", r"group 'sales-\w+' has no version 7: it has versions 3, 2, 1\."),
        ("{arn}/sales-{tag}/7", r"no model package arn:\S+/7\. Check its group"),
        ("arn:aws:s3:::bucket/key", "not the ARN of a model package, which ends with model-package/GROUP/VERSION"),
        ("sales-{tag}/2", r"Version 2 of 'sales-\w+' waits for approval.* --allow-unapproved"),
        ("sales-{tag}/3", r"Version 3 of 'sales-\w+' is Rejected.* --allow-unapproved"),
        ("{arn}/sales-{tag}/3", r"Version 3 of 'sales-\w+' is Rejected"),
        (
            "waiting-{tag}",
            r"No version .*waiting for approval: versions 2, 1\. .*give waiting-\w+/2 with --allow-unapp",
        ),
        ("refused-{tag}", r"all are Rejected.* refused-\w+/1, with --allow-unapproved"),
        ("others-{tag}/2", r"run/schema\.json is not the file that was recorded"),
        ("others-{tag}/3", r"no object or file s3://\S+/alone/schema\.json, the schema of the model"),
        ("others-{tag}/4", r"run/model\.tar\.gz is not the file that was recorded"),
        ("others-{tag}/5", r"text/model\.tar\.gz is not a model of Linear Learner: neither"),
        ("others-{tag}/6", r"no object s3://\S+/deleted/model\.tar\.gz"),
        ("others-{tag}/7", r"Version 7 of 'others-\w+' has no model in S3"),
        ("./sales-{tag}", r"no model\.tar\.gz in /\S+/sales-\w+\. Give a folder"),
        ("~nobody-{tag}/model", "home of a user that does not exist"),
        ("{folder}", r"no model\.tar\.gz in \S+\. Give one of its folders that have one: \S+/changed, "),
        ("{folder}/absent/run.json", r"no file \S+/absent/run\.json"),
        ("{prefix}/absent/run.json", r"no file s3://\S+/absent/run\.json"),
        ("{prefix}/absent", r"no object s3://\S+/absent/model\.tar\.gz"),
        ("{prefix}/lost", r"lost/schema\.json or s3://\S+/no/schema\.json, the schema of the model"),
        ("{folder}/others/run.json", r"others/run\.json is not a valid run\.json"),
        ("{folder}/newer", r"newer/run\.json .*this version reads only up to 1: update"),
        ("{folder}/damaged", r"damaged/model\.tar\.gz is not a model of Linear Learner: the archive is truncated"),
        ("{folder}/changed", r"changed/model\.tar\.gz is not the file that was recorded: its SHA-256 differs"),
        ("{folder}/changed/run.json", r"changed/model\.tar\.gz is not the file that was recorded"),
        ("{folder}/edited", r"edited/schema\.json is not the file that was recorded"),
        ("{folder}/features", r"has 3 features, and the model 2: they are not of the same run"),
        ("{folder}/classes", r"schema\.json of \S+ has 2 classes, and the model, a regressor, 0"),
        ("https://example.com/model", "is not read over HTTP"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_name(
    mistakes: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AwsError, LinearLearnerError)) as caught:
        use(mistakes, where, tmp_path)
    message = str(caught.value)
    assert re.search(sentence, message), message
    assert "\n" not in message
    assert not getattr(caught.value, "retryable", False)


def test_a_model_that_is_replaced_after_it_was_found_is_refused(scene: Scene, tmp_path: Path) -> None:
    scene.put("replaced/model.tar.gz", scene.archive)
    source = find_model(scene.workspace, scene.workspace.uri("replaced"), allow_unapproved=False)
    scene.put("replaced/model.tar.gz", b"another")
    with pytest.raises(ArtifactError, match="was changed after it was found"):
        fetch_model(scene.workspace, source, tmp_path)


def test_a_temporary_error_is_no_missing_schema(scene: Scene, hasty: Workspace, inject: Callable[..., None]) -> None:
    inject(kind="service-error", action="GetObject")
    with pytest.raises(AwsError) as caught:
        find_model(hasty, scene.workspace.uri("alone"), allow_unapproved=False)
    assert caught.value.retryable
