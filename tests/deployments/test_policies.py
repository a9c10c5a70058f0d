"""The policies allow the calls of runs, recorded by a sandbox, and nothing else.

The recorded calls are those of whole runs, predictions, deployments to an endpoint, the reaper, an upload that fails
half-way, and the deletion of a Dask cluster's files. Other facts are taken from AWS's documentation: action names in
policies (Service Authorization Reference), what an execution role needs besides S3 and logs ("CreateTrainingJob API:
Execution Role Permissions"), and that SageMaker's List actions have no resources ("API Permissions: Actions,
Permissions, and Resources Reference").
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import prefect_aws
import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from aws.endpoints.alarms import NAMESPACE
from aws.endpoints.settings import Guard, Hosting, Traffic
from aws.error_catalogue import diagnose_error
from aws.errors import AccessDenied, NotFound
from aws.registry import list_groups
from aws.storage import delete_objects, sha256_of, upload_file, write_object
from aws.training.compute import Compute
from aws.training.leases import release_lease
from aws.training.request import build_spec, image_uri
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace
from flows.deploy import deploy_model, undeploy_model
from flows.predict import predict_batch
from flows.reap import reap_training_jobs
from flows.train import train_linear_learner
from sandbox import client, faults
from sandbox.account import REGION, ROLE_ARN
from tasks.model_source import find_model
from tasks.parameters import Dataset, Gate, Prediction, Registry, RequestedHyperparameters
from tasks.report import TrainingRun
from tasks.serving.parameters import Deployment
from tests.deployments.iam_policies import evaluate_policy

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).resolve().parents[2] / "deployments" / "policies"
PASSED = {"iam:PassedToService": ["sagemaker.amazonaws.com"]}
IAM_ACTIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
}
"""IAM actions of operations with another name."""
TAGGED = {
    *("sagemaker:CreateTrainingJob", "sagemaker:CreateModelPackageGroup"),
    *("sagemaker:CreateModel", "sagemaker:CreateEndpointConfig", "sagemaker:CreateEndpoint"),
}
"""Operations that put tags on what they create."""
PLACEHOLDER_ROLE = "arn:aws:iam::123456789012:role/linear-learner-training"
DOCUMENTED = {
    "flow": {
        *("kms:Decrypt", "kms:GenerateDataKey", "iam:CreateServiceLinkedRole"),
        "cloudwatch:GetMetricStatistics",  # for endpoints that are older than a week
    },
    "training": {
        "logs:DescribeLogStreams",
        *("ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"),
        *("ecr:BatchGetImage", "cloudwatch:PutMetricData"),
        *("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:CreateGrant"),
        *("ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"),
        *("ec2:DeleteNetworkInterfacePermission", "ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcs"),
        *("ec2:DescribeDhcpOptions", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups"),
    },
}
"""Actions that are known from AWS's documentation only."""
AuthorizationRequest = tuple[str, str, Mapping[str, list[str]]]
"""Action, resource and context of an IAM decision."""
Policy = dict[str, Any]


class Account:
    """A bucket with versioning and a KMS key; records API calls until it is closed."""

    def __init__(self, url: str) -> None:
        self._url, self.bucket = url, f"policies-{uuid.uuid4().hex[:12]}"
        self.workspace = client.make_workspace(url)
        s3 = self.workspace.client("s3")
        s3.create_bucket(Bucket=self.bucket)
        s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.workspace.bucket.bucket_name, self.workspace.tags = self.bucket, {"team": "pricing"}
        self.workspace.kms_key_id = self.workspace.client("kms").create_key()["KeyMetadata"]["KeyId"]
        rows = "\n".join(f"{n % 37},{n % 11},{3 * (n % 37) + n % 11 + n % 5 / 10}" for n in range(300))
        self.table = f"s3://{self.bucket}/tables/{self.bucket}.csv"
        s3.put_object(Bucket=self.bucket, Key=f"tables/{self.bucket}.csv", Body=f"age,score,pay\n{rows}\n".encode())
        self._before = self._after = self._calls()

    def stop_recording(self) -> None:
        self._after = self._calls()

    def _calls(self) -> dict[tuple[bool, str, str], int]:
        with urlopen(f"{self._url}/_sandbox/calls") as response:  # noqa: S310 - http
            return {(one["own"], one["action"], one["resource"]): one["count"] for one in json.load(response)}

    def authorization_requests(self, *, own: bool) -> list[AuthorizationRequest]:
        """Requests of the flow or, if `own`, of the execution role: the sandbox's own training jobs."""
        new = [call[1:] for call, n in self._after.items() if call[0] == own and n > self._before.get(call, 0)]
        return [one for action, resource in sorted(new) for one in required_permissions(action, resource)]

    def policy(self, name: str) -> Policy:
        """A policy of the project with the names of this account; `flow` includes that of serving."""
        names = {"my-bucket": self.bucket, "eu-west-1": REGION, "my-key": str(self.workspace.kms_key_id)}
        text = (FOLDER / f"{name}.json").read_text()
        for placeholder, name_here in names.items():
            text = text.replace(placeholder, name_here)
        found = dict(json.loads(text))
        if name == "flow":  # both are policies of one role
            found["Statement"] += self.policy("serving")["Statement"]
        return found


def required_permissions(action: str, resource: str) -> Iterator[AuthorizationRequest]:
    """The IAM decisions for one call."""
    if action == "sts:GetCallerIdentity":
        return  # "No permissions are required"
    of_version = "Version" if resource.endswith("?versionId") else ""
    resource = resource.removesuffix("?versionId")
    if action == "s3:DeleteObjects":
        resource += "/linear-learner/work/table/part"  # one of the objects in the body of the request
    context = {"cloudwatch:namespace": [NAMESPACE]} if action == "cloudwatch:PutMetricData" else {}
    yield IAM_ACTIONS.get(action, action) + of_version, resource, context
    if action in TAGGED:
        yield "sagemaker:AddTags", resource, {}
    if action in {"sagemaker:CreateTrainingJob", "sagemaker:CreateModel"}:
        yield "iam:PassRole", ROLE_ARN, PASSED
    if action == "sagemaker:CreateModelPackage":
        yield action, resource.replace("model-package-group", "model-package") + "/1", {}


def denied(policy: Policy, requests: list[AuthorizationRequest]) -> list[tuple[str, str]]:
    """Action and resource of the requests that the policy does not allow."""
    return [one[:2] for one in requests if evaluate_policy(policy, *one) != "allowed"]


def train(account: Account, folder: Path) -> TrainingRun:
    """Train and approve a model, then train one that is compared with it."""
    run: TrainingRun
    for epochs in (2, 20):
        run = train_linear_learner(
            Dataset(source=account.table, target="pay"),
            hyperparameters=RequestedHyperparameters(
                mini_batch_size=10, epochs=epochs, num_models=4, learning_rate=0.05
            ),
            gate=Gate(margin=0),
            registry=Registry(approve=True),
            workspace="policies",
            model_dir=str(folder / "models"),
        )
    assert run.verdict.outcome == "promoted"
    assert run.registered
    predict_batch(Prediction(data=account.table, output="predictions/", model=run.registered.group), "policies")
    assert run.registered.group in list_groups(account.workspace, only_own=True)
    with pytest.raises(NotFound, match="Did you mean"):
        find_model(account.workspace, f"{run.registered.group}s", allow_unapproved=False)
    return run


def serve(run: TrainingRun) -> None:
    """Serve both versions of a model at an endpoint that is scaled and records requests, and remove it."""
    assert run.registered
    for version in (1, 2):
        deploy_model(
            Deployment(model=f"{run.registered.group}/{version}"),
            "policies",
            hosting=Hosting(max_instances=2, capture_percent=100),
            traffic=Traffic(minutes=3),
            guard=Guard(max_changed=1),
        )
    reap_training_jobs("policies")
    undeploy_model(run.registered.group, "policies")


def abandon_a_job(workspace: Workspace, run: TrainingRun, url: str) -> None:
    """Start a job that no run follows, then run the reaper."""
    faults.inject(url, kind="slow-job", seconds=60)
    spec = build_spec(workspace, {"predictor_type": "regressor", "epochs": "3"}, run.uploaded.channels, Compute())
    job = start_or_adopt(workspace, spec, "ended-run", {})
    release_lease(workspace, job.arn, "ended-run")
    assert job.name in reap_training_jobs("policies")


def fail_an_upload(workspace: Workspace, folder: Path, url: str) -> None:
    """Upload a file in several parts, of which one is rejected."""
    (folder / "large").write_bytes(bytes(9 << 20))
    faults.inject(url, kind="access-denied", action="UploadPart")
    with pytest.raises(AccessDenied):
        upload_file(workspace, folder / "large", workspace.uri("large"), sha256_of(folder / "large"))


@pytest.fixture(scope="module")
def account(sandbox_url: str, prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """An account with the recorded calls of all operations of runs."""
    del prefect_server
    folder, account = tmp_path_factory.mktemp("policies"), Account(sandbox_url)
    account.workspace.save("policies")
    settings = {PREFECT_LOCAL_STORAGE_PATH: folder / "results", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with pytest.MonkeyPatch.context() as patch, temporary_settings(settings):
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr("aws.endpoints.cleanup.POLL_SECONDS", 0.1)
        run = train(account, folder)
        serve(run)
        abandon_a_job(account.workspace, run, sandbox_url)
        fail_an_upload(account.workspace, folder, sandbox_url)
        write_object(account.workspace, account.workspace.uri("work", "table", "part"), b"")
        delete_objects(account.workspace, account.workspace.uri("work"))
    faults.clear(sandbox_url)
    account.stop_recording()
    return account


@pytest.mark.parametrize(("name", "own"), [("flow", False), ("training", True)])
def test_all_calls_of_runs_are_allowed(name: str, own: bool, account: Account) -> None:
    requests = account.authorization_requests(own=own)
    assert len({action for action, *_ in requests}) > 5
    assert denied(account.policy(name), requests) == []


@pytest.mark.parametrize(("name", "own"), [("flow", False), ("training", True)])
def test_every_permission_is_needed(name: str, own: bool, account: Account) -> None:
    requests, policy = account.authorization_requests(own=own), account.policy(name)
    unused = set()
    for number, statement in enumerate(policy["Statement"]):
        for action in as_list(statement["Action"]):
            reduced = deepcopy(policy)
            reduced["Statement"][number]["Action"] = [one for one in as_list(statement["Action"]) if one != action]
            if not denied(reduced, requests):
                unused.add(action)
    assert unused == DOCUMENTED[name]


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("s3:DeleteObject", "arn:aws:s3:::{bucket}/linear-learner/models/job/output/model.tar.gz", {}),
        ("s3:PutObject", "arn:aws:s3:::{bucket}/tables/pay.csv", {}),
        ("s3:GetObject", "arn:aws:s3:::another/tables/pay.csv", {}),
        ("sagemaker:StopTrainingJob", f"arn:aws:sagemaker:{REGION}:123456789012:training-job/of-others", {}),
        ("iam:PassRole", ROLE_ARN, {"iam:PassedToService": ["ec2.amazonaws.com"]}),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/administrator", PASSED),
        ("sagemaker:DeleteEndpoint", f"arn:aws:sagemaker:{REGION}:123456789012:endpoint/of-others", {}),
        ("sagemaker:DeleteModel", f"arn:aws:sagemaker:{REGION}:123456789012:model/of-others", {}),
        ("cloudwatch:DeleteAlarms", f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:of-others", {}),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": ["AWS/SageMaker"]}),
    ],
)
def test_the_flow_has_no_permissions_on_other_resources(
    action: str, resource: str, context: dict[str, list[str]], account: Account
) -> None:
    request = (action, resource.format(bucket=account.bucket), context)
    assert denied(account.policy("flow"), [request])


@pytest.mark.parametrize(
    ("message", "policy"),
    [
        ("Could not assume role training. Please ensure that the role exists", "training-trust"),
        (
            f"User: me is not authorized to perform: iam:PassRole on resource: {PLACEHOLDER_ROLE} because no policy",
            "flow",
        ),
    ],
)
def test_the_statements_in_remedies_of_errors_are_those_of_the_policies(message: str, policy: str) -> None:
    remedy = diagnose_error("", message, 400, "CreateTrainingJob").remedy
    statement = json.loads(remedy.partition(": ")[2])
    statements = json.loads((FOLDER / f"{policy}.json").read_text())["Statement"]
    assert statement in [{name: one[name] for name in one if name != "Sid"} for one in statements]


def test_the_execution_role_can_pull_the_image_of_the_algorithm() -> None:
    policy = json.loads((FOLDER / "training.json").read_text())
    (pulled,) = (one["Resource"] for one in policy["Statement"] if "ecr:BatchGetImage" in one["Action"])
    image = re.fullmatch(r"(\d+)\.dkr\.ecr\.eu-west-1\.amazonaws\.com/(.+):.+", image_uri("eu-west-1"))
    assert image
    assert fnmatchcase(f"arn:aws:ecr:eu-west-1:{image[1]}:repository/{image[2]}", pulled)


def test_an_ecs_worker_has_the_permissions_of_prefects_worker_and_no_others() -> None:
    root = Path(prefect_aws.__file__).parent
    code = (root / "workers" / "ecs_worker.py").read_text() + (root / "observers" / "ecs.py").read_text()
    called = {
        f"{service}:{operation.title().replace('_', '')}"
        for service, operation in re.findall(r"(ecs|ec2|sqs)_client\.([a-z]+_[a-z_]+)\(", code)
    }
    granted = set(re.findall(r'"((?:ecs|ec2|sqs|iam):\w+)"', (root / "templates" / "ecs" / "service.json").read_text()))
    policy = json.loads((FOLDER / "worker-ecs.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in as_list(statement["Action"])}
    assert called - {"ecs:DeregisterTaskDefinition"} <= allowed <= granted, (
        "the pool never deregisters task definitions"
    )


@pytest.mark.parametrize("policy", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_policies_are_within_the_limits_of_iam(policy: Path) -> None:
    document = json.loads(policy.read_text())
    assert document["Version"] == "2012-10-17"
    assert len(re.sub(r"\s", "", policy.read_text())) <= 6144, "the maximum length of a managed policy"
    sids = [statement["Sid"] for statement in document["Statement"] if "Sid" in statement]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)


def as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
