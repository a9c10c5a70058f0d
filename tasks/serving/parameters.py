"""What a user chooses about a deployment, besides the settings of the endpoint."""

import re
from typing import Annotated

from pydantic import Field

from aws.endpoints.settings import NAME_PATTERN, EndpointName
from aws.parameters import Parameters

_PACKAGE = re.compile(rf"(?:arn:\S+:model-package/)?(?P<group>{NAME_PATTERN.strip('^$')})(?:/[0-9]+)?")


class Deployment(Parameters):
    """The model to serve, and the endpoint that serves it."""

    model: Annotated[str, Field(min_length=1)] = "linear-learner-bonus-transformed-data"
    """A model package group, of which the newest Approved model is served; GROUP/VERSION or the ARN of a package; or
    the run.json of a run, or a folder with model.tar.gz: s3://, or a path on the flow's machine."""
    endpoint: EndpointName | None = None
    """Name of the endpoint. None: the name of the model package group."""
    create: bool = True
    """Create the endpoint if it does not exist, which costs money as long as it exists. Default true."""
    retry_rolled_back: bool = False
    """Try again an update that was rolled back before. Default false."""
    dry_run: bool = False
    """Only compare, and show what would change and cost. Default false."""

    @property
    def endpoint_name(self) -> str | None:
        """The endpoint's name: the given one, or that of the group; None for a model of another source without one."""
        if self.endpoint:
            return self.endpoint
        found = _PACKAGE.fullmatch(self.model)
        return found["group"] if found else None
