"""The Prefect block that points training at a sandbox; `python -m sandbox.block URL` saves it as `sandbox`.

The only part of the sandbox that imports Prefect: two seconds that serving does not wait for.
"""

import sys
from typing import TYPE_CHECKING

from sandbox.account import BUCKET, KEY_ID, REGION, ROLE_ARN, SECRET_KEY

if TYPE_CHECKING:
    from aws.workspace import Workspace

NAME = "sandbox"


def workspace(endpoint_url: str) -> "Workspace":
    """The unsaved block: the sandbox's bucket, keys, endpoint and role."""
    from prefect_aws import AwsCredentials, S3Bucket  # two seconds
    from prefect_aws.client_parameters import AwsClientParameters
    from pydantic import SecretStr

    from aws.workspace import Workspace

    credentials = AwsCredentials(
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SecretStr(SECRET_KEY),
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint_url),
    )
    return Workspace(bucket=S3Bucket(bucket_name=BUCKET, credentials=credentials), role_arn=ROLE_ARN)


if __name__ == "__main__":
    workspace(sys.argv[1]).save(NAME, overwrite=True)
