"""What each error response of AWS means, and its remedy: error_catalogue.yaml, by wording, code and HTTP status."""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Final, Literal

import yaml

ErrorKind = Literal[
    "AccessDenied",
    "NotFound",
    "InvalidRequest",
    "UnsupportedInstanceType",
    "QuotaExceeded",
    "NoCapacity",
    "Unavailable",
]
_DIAGNOSIS_BY_STATUS: Final = {403: "access_denied", 404: "not_found", 429: "transient"}
_PARTS: Final = {
    "{caller}": r"User: (?P<caller>\S+) is not authorized to perform: ",
    "{resource}": r"(?: on resource: \"?(?P<resource>[^\"]+?)\"?)?(?= because | with an explicit|\.?$)",
}
"""Parts that patterns of the catalogue have in common."""
_QUOTA_NUMBERS = re.compile(
    r"is (?P<limit>\d+)\S* \w+, with current utilization of \S+ \w+ and a request delta of (?P<delta>\d+)\S* \w+"
)
_INSTANCE_TYPE = re.compile(r"\bml\.[a-z][a-z0-9\-]*\.\w+|\binstance ?type", re.IGNORECASE)
_S3_PERMISSIONS: Final = {
    **dict.fromkeys(
        ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
        "s3:PutObject on the object. If the bucket's policy demands the header x-amz-server-side-encryption, set the "
        "workspace's KMS key: objects are then written with it",
    ),
    "GetObject": "s3:GetObject on the object, and s3:GetObjectVersion if the bucket is versioned",
    "HeadObject": "s3:GetObject on the object and s3:ListBucket on its bucket: else a missing object is denied",
    **dict.fromkeys(("HeadBucket", "ListObjectsV2"), "s3:ListBucket on the bucket"),
}
"""Permissions that S3 operations require, from S3's documentation, for denials that do not name the permission."""


@dataclass(frozen=True)
class Diagnosis:
    """The kind of an error, its remedy and, for a quota, whether waiting can help."""

    kind: ErrorKind
    remedy: str
    waiting_helps: bool = True


@dataclass(frozen=True)
class Catalogue:
    """The content of error_catalogue.yaml."""

    diagnoses: dict[str, Diagnosis]
    by_code: dict[str, str]
    """Name of the diagnosis by AWS's code."""
    by_class: dict[str, str]
    """Name of the diagnosis by the name of a class of botocore's or boto3's own errors."""
    by_wording: dict[str, Diagnosis]
    failures: dict[str, tuple[Any, str]]
    """By a pattern of a training job's FailureReason: the kind of the outcome, and the remedy."""
    endpoint_failures: dict[str, tuple[Any, str]]
    """By a pattern of an endpoint's FailureReason: the problem, and the remedy."""


@cache
def read_catalogue() -> Catalogue:
    """Read the catalogue, once per process."""
    content = yaml.load(Path(__file__).with_suffix(".yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    diagnoses = {name: Diagnosis(**fields) for name, fields in content["diagnoses"].items()}
    wordings = {}
    for entry in content["wordings"]:
        pattern = entry.pop("pattern")
        for name, part in _PARTS.items():
            pattern = pattern.replace(name, part)
        wordings[pattern] = diagnoses[entry["diagnosis"]] if "diagnosis" in entry else Diagnosis(**entry)
    return Catalogue(
        diagnoses=diagnoses,
        by_code=_invert(content["codes"]),
        by_class=_invert(content["client_errors"]),
        by_wording=wordings,
        failures={entry["pattern"]: (entry["kind"], entry["remedy"]) for entry in content["failures"]},
        endpoint_failures={
            entry["pattern"]: (entry["problem"], entry["remedy"]) for entry in content["endpoint_failures"]
        },
    )


def _invert(names: dict[str, str]) -> dict[str, str]:
    return {word: name for name, words in names.items() for word in words.split()}


def diagnose_error(code: str, message: str, status: int, operation: str) -> Diagnosis:
    """What an error response means: by its wording, else by its code, else by its HTTP status."""
    catalogue = read_catalogue()
    for wording, diagnosis in catalogue.by_wording.items():
        if match := re.search(wording, message):
            return replace(diagnosis, remedy=Template(diagnosis.remedy).substitute(match.groupdict("*")))
    name = catalogue.by_code.get(code) or _DIAGNOSIS_BY_STATUS.get(status)
    name = name or ("transient" if status >= 500 else "invalid_request")
    if name == "quota_in_use" and (numbers := _QUOTA_NUMBERS.search(message)):
        name = "quota_too_low" if int(numbers["limit"]) < int(numbers["delta"]) else name
    if name == "invalid_request" and operation == "CreateTrainingJob" and _INSTANCE_TYPE.search(message):
        name = "unsupported_instance_type"
    found = catalogue.diagnoses[name]
    if name == "access_denied" and operation in _S3_PERMISSIONS:
        return replace(found, remedy=f"Check the workspace's credentials, and grant them {_S3_PERMISSIONS[operation]}.")
    return found


def diagnose_client_error(error: Exception) -> Diagnosis:
    """What an error means that botocore or boto3 raised without a response of AWS."""
    catalogue = read_catalogue()
    names = (catalogue.by_class.get(kind.__name__) for kind in type(error).__mro__)
    return catalogue.diagnoses[next(filter(None, names), "invalid_request")]
