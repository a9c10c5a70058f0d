"""The Prefect block that points training at a sandbox; `python -m sandbox.block URL` saves it as `sandbox`.

The only part of the sandbox that imports Prefect: two seconds that serving does not wait for.
"""

import sys
import time
from typing import TYPE_CHECKING

from sandbox.account import BUCKET, KEY_ID, REGION, ROLE_ARN, SECRET_KEY

if TYPE_CHECKING:
    from aws.workspace import Workspace

NAME = "sandbox"
PAUSE_SECONDS = 2.0
"""Between two tries to reach Prefect's server."""


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


def save(endpoint_url: str) -> None:
    """Save the block; while no Prefect server answers, say so once and try again: one may be starting just now."""
    from httpx import ConnectError

    own, waiting = workspace(endpoint_url), False
    while True:
        try:
            own.save(NAME, overwrite=True)
        except ConnectError:
            if not waiting:
                print("its server does not answer", flush=True)  # noqa: T201 - for whoever started this process
            waiting = True
            time.sleep(PAUSE_SECONDS)
        else:
            return


if __name__ == "__main__":
    save(sys.argv[1])
