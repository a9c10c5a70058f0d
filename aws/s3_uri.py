"""S3 URIs as people write them: spellings that are understood, and an explanation of each that is not."""

import re
from urllib.parse import unquote

from aws.errors import InvalidRequest

SCHEMES = ("s3", "s3a", "s3n")
"""Names of one scheme: Hadoop and Spark write s3a and s3n."""
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):(?P<slashes>/+)(?P<rest>.*)", re.DOTALL)
_ARN = re.compile(
    r"arn:[a-z\-]+:(?P<service>[a-z0-9\-]+):(?P<region>[a-z0-9\-]*):(?P<account>\d*):(?P<resource>.*)", re.DOTALL
)
_ACCESS_POINT = re.compile(r"(?:outpost[/:][^/:]+[/:])?accesspoint[/:](?P<name>[^/:]+)(?:/object)?(?:/(?P<key>.*))?")
_ALIAS_SUFFIXES = {"s3": "-…-s3alias", "s3-object-lambda": "-…--ol-s3", "s3-outposts": "-…--op-s3"}
"""By service: the end of an access point's alias (S3 user guide, "Access point aliases")."""
_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-][a-z0-9.\-]+)?\.amazonaws\.com(?:\.cn)?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]+")


def normalize_uri(source: str) -> str:
    """Return the `s3://bucket/key` URI that `source` means; a key, a path and a `file:` URI are returned unchanged.

    Raises InvalidRequest, with the form to write instead, for an ARN, a web address, and any other scheme or URI.
    """
    if source.startswith("arn:"):
        raise InvalidRequest(_explain_arn(source))
    match = _SCHEME.match(source)
    if not match or match["scheme"].lower() == "file":
        return source
    if match["scheme"].lower() in {"http", "https"}:
        raise InvalidRequest(_explain_url(match["rest"]))
    if match["scheme"].lower() not in SCHEMES:
        scheme = match["scheme"].lower()
        raise InvalidRequest(f"A {scheme}: URI is not in S3: give s3://BUCKET/KEY, or a key in the workspace's bucket.")
    if match["rest"].startswith("arn:"):
        raise InvalidRequest(_explain_arn(match["rest"]))
    bucket, slash, key = match["rest"].partition("/")
    if "@" in match["rest"] and not _BUCKET.fullmatch(bucket):
        # Hadoop accepts s3a://ACCESS-KEY:SECRET-KEY@BUCKET/KEY: no message may repeat it.
        raise InvalidRequest(
            "The S3 URI has an @ before its bucket: write s3://BUCKET/KEY; the workspace has the keys."
        )
    if len(match["slashes"]) != 2 or not _BUCKET.fullmatch(bucket):
        raise InvalidRequest(f"{source} names no bucket: write s3://BUCKET/KEY.")
    if not slash:
        raise InvalidRequest(
            f"{source} names no object: add its key, as in s3://{bucket}/KEY, or a slash for all objects of the bucket."
        )
    return f"s3://{bucket}/{key}"


def check_bucket_name(name: str) -> None:
    """Raise ValueError, with what to write instead, if `name` cannot be the name of a bucket."""
    if "arn:" in name:
        raise ValueError(_explain_arn(name[name.index("arn:") :]))
    found = _SCHEME.match(name)
    bucket, slash, folder = (found["rest"] if found else name).partition("/")
    if (found or slash) and _BUCKET.fullmatch(bucket):
        where = f", and {folder.strip('/')} as its folder" if folder.strip("/") else ""
        raise ValueError(f"{name} is not the name of a bucket: give {bucket} as the bucket{where}")
    if name and not _BUCKET.fullmatch(name):
        raise ValueError(
            f"{name.rpartition('@')[2]!r} is not the name of a bucket: letters, digits, hyphens and dots are allowed"
        )


def _explain_arn(arn: str) -> str:
    """Return how to write what an ARN names; SageMaker's channels and this project need a bucket or an alias."""
    match = _ARN.fullmatch(arn)
    point = match and match["service"] in _ALIAS_SUFFIXES and _ACCESS_POINT.fullmatch(match["resource"])
    if match and point:
        return _explain_access_point(arn, match, point["name"], point["key"] or "KEY")
    if match and match["service"] == "s3" and match["resource"]:
        bucket, _, key = match["resource"].partition("/")
        return f"{arn} is an ARN, not a URI: write s3://{bucket}/{key or 'KEY'}, or {bucket} where a bucket is meant."
    return f"{arn} does not name an object in S3: write s3://BUCKET/KEY."


def _explain_access_point(arn: str, match: re.Match[str], name: str, key: str) -> str:
    if name.endswith(".mrap") or not match["region"]:
        return (
            f"{arn} is the ARN of a Multi-Region Access Point, which has no alias that can be used as a bucket: give a "
            f"bucket, or the alias of an access point, in the workspace's region, as in s3://BUCKET/{key}."
        )
    shown_by = ""
    if match["service"] == "s3":
        shown_by = f", and `aws s3control get-access-point --account-id {match['account']} --name {name}` prints it"
    return (
        f"{arn} is the ARN of an access point: give its alias as the bucket, s3://{name}"
        f"{_ALIAS_SUFFIXES[match['service']]}/{key}; the alias is in the S3 console under Access Points{shown_by}."
    )


def _explain_url(address: str) -> str:
    """Return the URI of the object at a web address. Without its user and query, which may contain credentials."""
    host, _, path = re.split("[?#]", address, maxsplit=1)[0].partition("/")
    host = host.rpartition("@")[2].partition(":")[0].lower()
    match = _HOST.fullmatch(host)
    if not match or not path:
        return f"{host} is not read over HTTP: upload the table to S3 and give s3://BUCKET/KEY."
    bucket = f"{match['bucket']}/" if match["bucket"] else ""
    return f"The address at {host} is not an S3 URI: write s3://{bucket}{unquote(path)}."
