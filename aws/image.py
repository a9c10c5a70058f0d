"""The algorithm's container image in each region, from the SageMaker SDK's own data."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from botocore.loaders import create_loader
from botocore.regions import EndpointResolver

from aws.errors import InvalidRequest


@cache
def image_uri(region: str) -> str:
    """Image URI of `linear-learner` in `region`; the SDK's `image_uris.retrieve` gives the same after a 2 s import.

    Reads the table that the SDK ships; the SDK itself is not imported. Raises InvalidRequest for a region without it.
    """
    versions: dict[str, Any] = json.loads(_table().read_text())["versions"]
    version, image = max(versions.items())
    registry = image["registries"].get(region)
    if registry is None:
        regions = ", ".join(sorted(image["registries"]))
        raise InvalidRequest(f"Linear Learner has no image in region {region!r}. Choose one of: {regions}.")
    resolver = EndpointResolver(create_loader().load_data("endpoints"))
    suffix = resolver.get_partition_dns_suffix(resolver.get_partition_for_region(region))
    return f"{registry}.dkr.ecr.{region}.{suffix}/{image['repository']}:{version}"


def _table() -> Path:
    # Found, not imported: the packages' own import takes seconds.
    spec = find_spec("sagemaker")
    folders = (spec.submodule_search_locations if spec else None) or []
    tables = (Path(folder, "core", "image_uri_config", "linear-learner.json") for folder in folders)
    return next(table for table in tables if table.exists())
