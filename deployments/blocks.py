"""`python -m deployments.blocks`: saves the Prefect blocks that say where training runs, once AWS confirmed it."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from aws.workspace_fields import DaskScheduler, KmsKeyId, Prefix, RoleArn, SecurityGroupIds, Subnets, Tags
from flows.cli import local_services
from flows.cli.arguments import CommandLine, report_error
from flows.cli.local_services import ServerStartError

UNCHANGED: Any = None
Clearable = Annotated[str | None, BeforeValidator(lambda value: value or None)]


class Arguments(CommandLine):
    """\
    Save three Prefect blocks of one name that say where training runs, once AWS has confirmed that it can run there.

    They are AWS Credentials, S3 Bucket and Training Workspace. New ones need --bucket, --role-arn and --region; saved
    ones keep what is not said here, and lose what is said to be empty, as in --kms-key-id "".
    Lists are written --subnets a,b and tags --tags cost-centre=42,team=risk.
    """  # noqa: D205 - begins on a line of its own, so that the help text is not indented

    model_config = SettingsConfigDict(
        cli_prog_name="python -m deployments.blocks",
        cli_parse_none_str="as it is",
        alias_generator=lambda name: name.removesuffix("_name").replace("_", "-"),
        validate_default=False,
    )

    name: Annotated[str, Field(pattern="^[a-z0-9-]+$")] = "production"
    """Name of the three blocks, by which runs choose them with --workspace."""
    bucket_name: Annotated[str, Field(min_length=1)] = UNCHANGED
    """Name of the S3 bucket for data and models."""
    role_arn: RoleArn = UNCHANGED
    region_name: Clearable = UNCHANGED
    """Region of the bucket, where training runs; of new blocks AWS_REGION, AWS_DEFAULT_REGION or the profile's."""
    keys: Annotated[Literal["machine", "keys"], Field(alias="credentials")] = UNCHANGED
    """Whose credentials runs use. machine, which new blocks have: those of whatever machine a run is on, from its
    environment, profile or role; nothing secret is stored. keys, for machines that have none: the access key found now
    in this environment, or in --profile, is stored in the block."""
    profile_name: Clearable = UNCHANGED
    """An AWS profile that every machine with runs has; with --credentials keys, one that this machine has."""
    assume_role_arn: Clearable = UNCHANGED
    """ARN of a role that runs take on first."""
    endpoint_url: Clearable = UNCHANGED
    """URL of what stands in for AWS, such as a sandbox; of new blocks AWS_ENDPOINT_URL."""
    bucket_folder: str = UNCHANGED
    """Folder of the bucket that holds everything, sources too."""
    prefix: Prefix = UNCHANGED
    kms_key_id: KmsKeyId = UNCHANGED
    subnets: Subnets = UNCHANGED
    security_group_ids: SecurityGroupIds = UNCHANGED
    tags: Tags = UNCHANGED
    dask_scheduler: DaskScheduler = UNCHANGED


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the blocks; returns the exit code: 0 done, 1 Prefect failed, 2 a mistake, and nothing was saved."""
    try:
        chosen = Arguments(**Arguments.given(arguments))
    except (ValidationError, SettingsError) as error:
        return report_error(error, 2)
    ready = local_services.start(sandboxed=False)
    from httpx import HTTPError  # from here on while a server boots, where none is configured
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    from aws.errors import AwsError
    from deployments.saved_blocks import save_blocks

    where = f"in {PREFECT_HOME.value()}, where only runs of this machine look, as no PREFECT_API_URL is set"
    if server := PREFECT_API_URL.value():  # before one is started for this command alone
        where = f"in Prefect at {server}"
    try:
        ready()
        done, warnings = save_blocks(chosen.name, chosen.model_dump(exclude={"name"}, exclude_unset=True))
    except (ValidationError, AwsError) as error:
        return report_error(error, 2)
    except (HTTPError, ServerStartError) as error:
        return report_error(f"Prefect failed: {error}. Looked for it {where}.", 1)
    following = f"Next: python -m flows.train --workspace {chosen.name} --source KEY --target COLUMN"
    print(f"Blocks {where}:", *done, following, sep="\n")  # noqa: T201 - what the command line is for
    return report_error("\n".join(warnings), 0) if warnings else 0


if __name__ == "__main__":
    sys.exit(main())
