"""`python -m deployments.blocks`: check a workspace with AWS and save it as three Prefect blocks."""

if __name__ == "__main__":
    # Before the other imports: the command can be interrupted while they take place.
    from flows.cli.command import run_main

    raise SystemExit(run_main("deployments.blocks"))

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

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
from deployments.first_use import find_region, has_credentials, may_be_saved, missing_flags_message
from flows.cli import local_services
from flows.cli.arguments import CommandLine, error_message
from flows.cli.command import print_result, report_error
from flows.cli.local_services import ServerStartError
from tasks.environment.errors import describe_error

UNCHANGED: Any = None
Clearable = Annotated[str | None, BeforeValidator(lambda value: value or None)]


class Arguments(CommandLine):
    """\
    Check with AWS that training can run in a bucket with a role, and save them as three Prefect blocks of one name.

    They are AWS Credentials, S3 Bucket and Training Workspace. New blocks need --bucket, --role-arn and --region. Saved
    blocks keep the values that are not given here; an empty value, as in --kms-key-id "", deletes the saved one.
    Lists are written --subnets a,b and tags --tags cost-centre=42,team=risk.
    """  # noqa: D205 - starts on a new line, so that the help text is not indented

    model_config = SettingsConfigDict(
        cli_prog_name="python -m deployments.blocks",
        cli_parse_none_str="as it is",
        alias_generator=lambda name: name.removesuffix("_name").replace("_", "-"),
        validate_default=False,
    )

    name: Annotated[str, Field(pattern="^[a-z0-9-]+$")] = "production"
    """Name of the three blocks; runs select them with --workspace."""
    bucket_name: Annotated[str, Field(min_length=1)] = UNCHANGED
    """Name of the S3 bucket for data and models."""
    role_arn: RoleArn = UNCHANGED
    region_name: Clearable = UNCHANGED
    """Region of the bucket and of training; default for new blocks: AWS_REGION, AWS_DEFAULT_REGION or the profile's."""
    keys: Annotated[Literal["machine", "keys"], Field(alias="credentials")] = UNCHANGED
    """Credentials of runs. machine (default for new blocks): those of the machine that a run is on, from its
    environment, profile or role; no secret is stored. keys, for machines without credentials: the access key in the
    current environment or in --profile is stored in the block."""
    profile_name: Clearable = UNCHANGED
    """An AWS profile that exists on every machine with runs; with --credentials keys, on this machine."""
    assume_role_arn: Clearable = UNCHANGED
    """ARN of a role that runs assume before they call AWS."""
    endpoint_url: Clearable = UNCHANGED
    """URL of a replacement for AWS, such as a sandbox; default for new blocks: AWS_ENDPOINT_URL."""
    bucket_folder: str = UNCHANGED
    """Folder of the bucket for all objects, including sources."""
    prefix: Prefix = UNCHANGED
    kms_key_id: KmsKeyId = UNCHANGED
    volume_kms_key_id: VolumeKmsKeyId = UNCHANGED
    network_isolation: NetworkIsolation = UNCHANGED
    encrypt_inter_container_traffic: EncryptInterContainerTraffic = UNCHANGED
    subnets: Subnets = UNCHANGED
    security_group_ids: SecurityGroupIds = UNCHANGED
    tags: Tags = UNCHANGED
    dask_scheduler: DaskScheduler = UNCHANGED
    serving_image: ServingImage = UNCHANGED


def _find_missing(chosen: Arguments) -> list[str]:
    """Return the flags that new blocks need, if there are certainly no saved ones; takes no second."""
    flags = {"--bucket": chosen.bucket_name, "--role-arn": chosen.role_arn}
    missing = [flag for flag, value in flags.items() if value is None]
    if not missing or may_be_saved(chosen.name):
        return []
    from botocore.exceptions import BotoCoreError  # slow

    with suppress(BotoCoreError):  # such as a missing profile, which is reported when a client is created
        if not (chosen.region_name or find_region(chosen.profile_name)):
            missing.append("--region")
    return missing


def _lacks_credentials(chosen: Arguments) -> bool:
    """Return whether the blocks would be new ones, and this machine has no credentials to check them with."""
    from botocore.exceptions import BotoCoreError  # slow

    if may_be_saved(chosen.name):
        return False
    try:
        return not has_credentials(chosen.profile_name)
    except BotoCoreError:  # such as a missing profile, which the check reports
        return True


def _check_without_server(name: str, given: Mapping[str, Any]) -> str:
    """Return all problems that can be found, among them that there are no credentials; empty without any."""
    from aws.errors import AwsError  # slow, as it imports Prefect
    from deployments.saved_blocks import check_new_blocks

    try:
        check_new_blocks(name, given)
    except (ValidationError, AwsError) as error:
        return error_message(error)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the blocks; exit codes: 0 saved, 2 an error."""
    try:
        chosen = Arguments(**Arguments.given(arguments))
    except (ValidationError, SettingsError) as error:
        return report_error(error_message(error), 2)
    if missing := _find_missing(chosen):
        return report_error(missing_flags_message(chosen.name, missing), 2)
    given = chosen.model_dump(exclude={"name"}, exclude_unset=True)
    if _lacks_credentials(chosen) and (problems := _check_without_server(chosen.name, given)):
        return report_error(problems, 2)
    ready = local_services.start(sandboxed=False)
    from httpx import HTTPError  # slow: imported while a server starts, if none is configured
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    from aws.errors import AwsError
    from deployments.saved_blocks import save_blocks

    where = f"in {PREFECT_HOME.value()}, which only runs on this machine use, because PREFECT_API_URL is not set"
    if server := PREFECT_API_URL.value():  # before a server is started for this command
        where = f"in Prefect at {server}"
    try:
        ready()
        done, warnings = save_blocks(chosen.name, given)
    except (ValidationError, AwsError) as error:
        return report_error(error_message(error), 2)
    except (HTTPError, ServerStartError) as error:
        return report_error(f"The blocks cannot be saved {where}. {describe_error(error) or error}", 2)
    following = f"Next: python -m flows.train --workspace {chosen.name} --source KEY --target COLUMN"
    print_result("\n".join([f"Blocks {where}:", *done, following]))
    return report_error("\n".join(warnings), 0) if warnings else 0
