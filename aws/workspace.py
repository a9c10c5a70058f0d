"""Where training runs: the one switch between a laptop and the cloud."""

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from prefect.blocks.core import Block
from prefect_aws import S3Bucket
from pydantic import Field, PositiveFloat, ValidationError, model_validator

from aws.errors import InvalidRequest, NotFound, translate_errors
from aws.workspace_fields import DaskScheduler, KmsKeyId, Prefix, RoleArn, SecurityGroupIds, Subnets, Tags

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sts import STSClient


class Workspace(Block):
    """A bucket with its credentials, the role SageMaker assumes, and the network training runs in.

    Every AWS client of this project comes from here, so that one block decides which account and endpoint it uses.
    """

    _block_type_name = "Training Workspace"
    _description = "Where SageMaker training runs: bucket, credentials, execution role, network and default tags."

    bucket: S3Bucket = Field(title="Bucket", description="S3 bucket for data and models, with the credentials to use.")
    role_arn: RoleArn
    prefix: Prefix = "linear-learner"
    subnets: Subnets = Field(default_factory=list)
    security_group_ids: SecurityGroupIds = Field(default_factory=list)
    kms_key_id: KmsKeyId = None
    tags: Tags = Field(default_factory=dict)
    prices: dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description="USD per instance and hour of training, by instance type such as ml.m5.large, where the built-in "
        "price list lacks it or you pay another price.",
    )
    dask_scheduler: DaskScheduler = None

    @model_validator(mode="after")
    def _network_is_whole(self) -> Self:
        if bool(self.subnets) != bool(self.security_group_ids):
            raise ValueError("subnets and security groups go together: give both, or neither")
        return self

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """A copy of the schema, which is computed once: Prefect asks for it a hundred times to save a block."""
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
    def client(self, service: str) -> Any:
        """A boto3 client for `service`, with this workspace's credentials, region and endpoint."""
        with translate_errors(f"preparing a connection to {service}"):
            # prefect-aws types only two of boto3's services; get_client takes any name.
            return cast("Any", self.bucket.credentials).get_client(service)

    @property
    def region(self) -> str:
        """The region the workspace's clients talk to, e.g. `eu-west-1`."""
        return self.client("s3").meta.region_name

    def key(self, *parts: str) -> str:
        """Key of an object of this project: the bucket's own folder, the prefix, then `parts`."""
        return "/".join(p.strip("/") for p in (self.bucket.bucket_folder, self.prefix, *parts) if p.strip("/"))

    def uri(self, *parts: str) -> str:
        """`s3://` URI of an object, or folder, of this project."""
        return f"s3://{self.bucket.bucket_name}/{self.key(*parts)}"

    def locate(self, source: str) -> str:
        """`source` as a full URI: an `s3://` URI as it is, anything else as a key in the workspace's bucket."""
        if source.startswith("s3://"):
            return source
        folder = self.bucket.bucket_folder.strip("/")
        return f"s3://{self.bucket.bucket_name}/{folder + '/' if folder else ''}{source.lstrip('/')}"


def load_workspace(name: str) -> Workspace:
    """The saved block of that name; raises NotFound, or InvalidRequest when the block is not valid."""
    try:
        # Prefect types `load` for sync and async callers alike.
        return cast("Workspace", Workspace.load(name))
    except ValueError as error:
        raise NotFound(
            f"There is no Training Workspace block named {name!r} in this Prefect. Save one in Prefect's UI "
            "under Blocks."
        ) from error
    except RuntimeError as error:  # Prefect's server takes what the block's form does
        if not isinstance(error.__cause__, ValidationError):
            raise
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.__cause__.errors())
        # Without the cause: it shows what was found, credentials among it.
        raise InvalidRequest(
            f"Correct the Training Workspace block {name!r} in the UI under Blocks: {wrong}."
        ) from None


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://bucket/key` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
