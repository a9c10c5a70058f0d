"""Fields of the Training Workspace block, with the titles and descriptions that its form and the command line share.

Separate from the block, because importing this module does not import Prefect: the command line shows --help quickly.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from aws.tags import MAX_OWN_TAGS, check_tags


def _drop_blanks(value: Any) -> Any:
    """Treat a field that was emptied, in the form or on the command line, as not set."""
    return [item for item in value if item] if isinstance(value, list) else value or None


def _blank_to_false(value: Any) -> Any:
    """Treat a switch that was emptied on the command line as off."""
    return value or False


RoleArn = Annotated[
    str,
    Field(
        title="Execution role",
        pattern=r"^arn:aws[a-z\-]*:iam::\d{12}:role/.+$",
        description="ARN of the IAM role that SageMaker assumes to read the data and write the model, such as "
        "arn:aws:iam::123456789012:role/linear-learner-training.",
    ),
]
Prefix = Annotated[str, Field(description="Folder in the bucket under which data and models are written.")]
Subnets = Annotated[
    list[str],
    Field(
        description="Ids of the subnets, such as subnet-0a1b2c3d4e5f60718, when training must run inside a VPC; "
        "requires security groups."
    ),
    BeforeValidator(_drop_blanks),
]
SecurityGroupIds = Annotated[
    list[str],
    Field(
        title="Security groups",
        description="Ids of the security groups, such as sg-0a1b2c3d4e5f60718; requires subnets.",
    ),
    BeforeValidator(_drop_blanks),
]
KmsKeyId = Annotated[
    str | None,
    Field(
        title="KMS key",
        description="Key that encrypts the model and all objects that runs write to S3: its ARN, id or alias/name, in "
        "the bucket's region. Empty: the default encryption of the bucket.",
    ),
    BeforeValidator(_drop_blanks),
]
VolumeKmsKeyId = Annotated[
    str | None,
    Field(
        title="KMS key of training volumes",
        description="Key that encrypts the disks of training instances, except local NVMe disks, which the hardware "
        "encrypts. Empty: the KMS key above.",
    ),
    BeforeValidator(_drop_blanks),
]
NetworkIsolation = Annotated[
    bool,
    Field(description="Start training containers without network access (SageMaker's EnableNetworkIsolation)."),
    BeforeValidator(_blank_to_false),
]
EncryptInterContainerTraffic = Annotated[
    bool,
    Field(
        title="Encrypt traffic between instances",
        description="Encrypt what the instances of a training job send each other (SageMaker's "
        "EnableInterContainerTrafficEncryption); training on several instances may take longer.",
    ),
    BeforeValidator(_blank_to_false),
]
Tags = Annotated[
    dict[str, str],
    Field(
        description=f"Tags put on every training job, such as a cost centre: at most {MAX_OWN_TAGS}, of letters, "
        "digits, spaces and _ . : / = + - @."
    ),
    AfterValidator(check_tags),
]
ServingImage = Annotated[
    str | None,
    Field(
        title="Serving image",
        pattern=r"^[\w.\-]+(:\d+)?/\S+$",
        description="URI, in ECR, of the image that deployments/Dockerfile builds as target `serve`. Endpoints of "
        "models of text, dates or missing cells need it; models of complete numbers are served by AWS's own image.",
    ),
    BeforeValidator(_drop_blanks),
]
DaskScheduler = Annotated[
    str | None,
    Field(
        title="Dask scheduler",
        pattern=r"^(tcp|tls|ucx|ws|wss)://.+$",
        description="Address of a Dask cluster, such as tcp://10.0.0.7:8786, that prepares tables too large for one "
        "machine; this project must be installed on its workers. Empty: the machine that runs the flow.",
    ),
    BeforeValidator(_drop_blanks),
]
