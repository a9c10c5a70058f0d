"""The Training Workspace block, which determines whether training runs in the sandbox or on AWS."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast, overload

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import Field, PositiveFloat, ValidationError, field_validator, model_validator

from aws.errors import InvalidRequest, NotFound, translate_errors
from aws.s3_uri import check_bucket_name, normalize_uri
from aws.session import get_client
from aws.workspace_fields import (
    DaskScheduler,
    EncryptInterContainerTraffic,
    KmsKeyId,
    NetworkIsolation,
    Prefix,
    RoleArn,
    SecurityGroupIds,
    ServingImage,
    Subnets,
    Tags,
    VolumeKmsKeyId,
)

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sts import STSClient

SHORT_TIMEOUTS: Final = {"connect_timeout": 3, "read_timeout": 10, "retries": {"total_max_attempts": 2}}
"""For calls whose failure has other consequences than the end of a run, and that a private network may block."""


class Workspace(Block):
    """Bucket, credentials, execution role, network and tags of training jobs.

    Creates all AWS clients of this project, so that this block alone determines their account and endpoint.
    """

    _block_type_name = "Training Workspace"
    _description = "Where SageMaker training runs: bucket, credentials, execution role, network and default tags."

    bucket: S3Bucket = Field(title="Bucket", description="S3 bucket for data and models, with the credentials to use.")
    role_arn: RoleArn
    prefix: Prefix = "linear-learner"
    subnets: Subnets = Field(default_factory=list)
    security_group_ids: SecurityGroupIds = Field(default_factory=list)
    network_isolation: NetworkIsolation = False
    encrypt_inter_container_traffic: EncryptInterContainerTraffic = False
    kms_key_id: KmsKeyId = None
    volume_kms_key_id: VolumeKmsKeyId = None
    tags: Tags = Field(default_factory=dict)
    prices: dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description="USD per instance and hour of training or hosting, by instance type such as ml.m5.large, for types "
        "whose price AWS's price list lacks or cannot be asked for, or for which you pay another price.",
    )
    dask_scheduler: DaskScheduler = None
    serving_image: ServingImage = None

    @field_validator("bucket")
    @classmethod
    def _check_bucket(cls, bucket: S3Bucket) -> S3Bucket:
        check_bucket_name(bucket.bucket_name)
        return bucket

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        if bool(self.subnets) != bool(self.security_group_ids):
            raise ValueError("subnets and security groups must be set together: set both, or neither")
        return self

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return a copy of the cached schema: Prefect calls this method a hundred times to save a block."""
        return deepcopy(cls._schema(*arguments, **options))

    @classmethod
    @cache
    def _schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        return super().model_json_schema(*arguments, **options)

    @overload
    def client(self, service: Literal["s3"]) -> "S3Client": ...
    @overload
    def client(self, service: Literal["sagemaker"]) -> "SageMakerClient": ...
    @overload
    def client(self, service: Literal["logs"]) -> "CloudWatchLogsClient": ...
    @overload
    def client(self, service: Literal["sts"]) -> "STSClient": ...
    @overload
    def client(self, service: Literal["iam"]) -> "IAMClient": ...
    @overload
    def client(self, service: Literal["kms"]) -> "KMSClient": ...
    @overload
    def client(
        self, service: Literal["pricing", "sagemaker-runtime", "cloudwatch", "application-autoscaling"]
    ) -> Any: ...
    def client(self, service: str) -> Any:
        """Return a boto3 client for `service`, with this workspace's credentials, region and endpoint.

        Its keys are renewed; see aws/session.py. Threads may share it.
        """
        with translate_errors(f"creating a client for {service}"):
            credentials = self.bucket.credentials
            if isinstance(credentials, AwsCredentials):
                return get_client(credentials, service)
            # prefect-aws annotates only two of boto3's services; MinIO's get_client accepts any name.
            return cast("Any", credentials).get_client(service)

    def with_short_timeouts(self) -> Self:
        """Return a copy of the workspace whose clients time out after a few seconds, with one retry."""
        return self.with_client_options(SHORT_TIMEOUTS)

    def with_client_options(self, config: Mapping[str, Any], region: str | None = None) -> Self:
        """Return a copy of the workspace whose clients have these options of botocore's Config, and another region."""
        # Both credentials blocks of prefect-aws have these parameters; their base class does not declare them.
        credentials = cast("Any", self.bucket.credentials)
        parameters = credentials.aws_client_parameters
        parameters = parameters.model_copy(update={"config": {**(parameters.config or {}), **config}})
        changes = {"aws_client_parameters": parameters, "region_name": region or credentials.region_name}
        return self._with_credentials(changes)

    def without_credentials(self) -> Self:
        """Return a copy of the workspace whose clients send unsigned requests, and time out after a few seconds."""
        fields = type(self.bucket.credentials).model_fields
        without = self._with_credentials(dict.fromkeys({"profile_name", "assume_role_arn"} & fields.keys()))
        return without.with_client_options({**SHORT_TIMEOUTS, "signature_version": "unsigned"})

    def _with_credentials(self, changes: Mapping[str, Any]) -> Self:
        credentials = self.bucket.credentials.model_copy(update=changes)
        return self.model_copy(update={"bucket": self.bucket.model_copy(update={"credentials": credentials})})

    @property
    def region(self) -> str:
        """The region of the workspace's clients, e.g. `eu-west-1`."""
        return self.client("s3").meta.region_name

    def key(self, *parts: str) -> str:
        """Return the key of an object of this project: the bucket block's folder, the prefix, then `parts`."""
        return "/".join(p.strip("/") for p in (self.bucket.bucket_folder, self.prefix, *parts) if p.strip("/"))

    def uri(self, *parts: str) -> str:
        """Return the `s3://` URI of an object or folder of this project."""
        return f"s3://{self.bucket.bucket_name}/{self.key(*parts)}"

    def locate(self, source: str) -> str:
        """Return `source`, a URI or a key in the workspace's bucket, as a full `s3://` URI.

        Raises InvalidRequest, with the form to write instead, for any other URI and for ARNs.
        """
        uri = normalize_uri(source)
        if uri.startswith("s3://"):
            return uri
        folder = self.bucket.bucket_folder.strip("/")
        return f"s3://{self.bucket.bucket_name}/{folder + '/' if folder else ''}{source.lstrip('/')}"


def load_workspace(name: str) -> Workspace:
    """Return the saved block of that name; raises NotFound, or InvalidRequest when the block is not valid."""
    try:
        # Prefect annotates `load` for both sync and async callers.
        return cast("Workspace", Workspace.load(name))
    except ValueError as error:
        raise NotFound(
            f"There is no Training Workspace block named {name!r} on this Prefect server. Save one in "
            "Prefect's UI under Blocks."
        ) from error
    except RuntimeError as error:  # Prefect's server does not run the block's validators
        if not isinstance(error.__cause__, ValidationError):
            raise
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.__cause__.errors()
        )
        # Without the cause, which contains the values, among them credentials.
        raise InvalidRequest(
            f"Correct the Training Workspace block {name!r} in the UI under Blocks: {problems}."
        ) from None


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of an `s3://bucket/key` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
