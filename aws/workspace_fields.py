"""Fields of the Training Workspace block, with the titles and descriptions that its form and the command line share.

Separate from the block, because importing this module does not import Prefect: the command line shows --help quickly.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _drop_blanks(value: Any) -> Any:
    """Treat a field that was emptied, in the form or on the command line, as not set."""
    return [item for item in value if item] if isinstance(value, list) else value or None


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
        description="Key that encrypts the model and the training volume: its id, ARN or alias/name, in the bucket's "
        "region. Empty: the default encryption of AWS.",
    ),
    BeforeValidator(_drop_blanks),
]
Tags = Annotated[dict[str, str], Field(description="Tags put on every training job, such as a cost centre.")]
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
