"""The API call that an HTTP request makes, and error responses to it in its service's wording and wire format."""

import io
import json
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

from sandbox.account import ACCOUNT, KEY_ID, REGION
from sandbox.faults import CallFault, Quota
from sandbox.storage import SIGNATURE_SCOPE

INTERNAL_USER_AGENT = "sandbox-itself"
"""In the user agent of the calls with which the sandbox runs jobs; faults do not apply to them."""
S3_ACTIONS = {
    ("GET", "", ""): "ListBuckets",
    ("GET", "Bucket", ""): "ListObjects",
    ("GET", "Bucket", "list-type"): "ListObjectsV2",
    ("GET", "Bucket", "versions"): "ListObjectVersions",
    ("GET", "Bucket", "uploads"): "ListMultipartUploads",
    ("PUT", "Bucket", ""): "CreateBucket",
    ("POST", "Bucket", "delete"): "DeleteObjects",
    ("PUT", "Object", "partNumber"): "UploadPart",
    ("POST", "Object", "uploads"): "CreateMultipartUpload",
    ("POST", "Object", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "Object", "uploadId"): "AbortMultipartUpload",
    ("GET", "Object", "uploadId"): "ListParts",
}
"""By method, level and query; other names are composed of these: GET of an object's `tagging` is GetObjectTagging."""
ARN_BY_MEMBER: Mapping[str, str] = {
    name: f"arn:aws:{service}:{'' if service == 'iam' else REGION}:{ACCOUNT}:{kind}{{}}"
    for name, service, kind in (
        ("TrainingJobName", "sagemaker", "training-job/"),
        ("logGroupName", "logs", "log-group:"),
        ("ModelPackageGroupName", "sagemaker", "model-package-group/"),
        ("ModelPackageArn", "sagemaker", "model-package/"),
        ("ModelPackageName", "sagemaker", "model-package/"),
        ("ResourceArn", "sagemaker", ""),
        ("RoleName", "iam", "role/"),
        ("PolicySourceArn", "iam", ""),
        ("KeyId", "kms", "key/"),
    )
}
"""ARN of the resource that a member of a request names; the first of these members that a request has counts."""
ErrorTemplate = tuple[int, str, str]
"""HTTP status, error code and message."""
_INTERNAL_FAILURE = (
    500,
    "InternalFailure",
    "The request processing has failed because of an unknown error, exception or failure.",
)
_ACCESS_DENIED_MESSAGE = (
    "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based policy "
)
_ACCESS_DENIED_MESSAGE += "allows the {action} action"
ERROR_TEMPLATES: Mapping[str, Mapping[str, ErrorTemplate]] = {
    "throttling": {
        "json": (400, "ThrottlingException", "Rate exceeded"),
        "query": (400, "Throttling", "Rate exceeded"),
        "s3": (503, "SlowDown", "Please reduce your request rate."),
    },
    "service-error": {
        "json": _INTERNAL_FAILURE,
        "query": _INTERNAL_FAILURE,
        "s3": (500, "InternalError", "We encountered an internal error. Please try again."),
    },
    "access-denied": {
        "json": (400, "AccessDeniedException", _ACCESS_DENIED_MESSAGE),
        "query": (403, "AccessDenied", _ACCESS_DENIED_MESSAGE),
        "s3": (403, "AccessDenied", "Access Denied"),
    },
}
QUOTA_MESSAGE = (
    "The account-level service limit '{type} for {spot}training job usage' is {limit} Instances, with current "
    "utilization of {limit} Instances and a request delta of {count} Instances. Please use AWS Service Quotas to "
    "request an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an "
    "increase for this quota."
)


class ApiCall:
    """The API call that one HTTP request makes."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        match = SIGNATURE_SCOPE.search(environ.get("HTTP_AUTHORIZATION", "") or environ["QUERY_STRING"])
        self.service = match["service"].lower() if match else "s3"
        self.is_internal = INTERNAL_USER_AGENT in environ.get("HTTP_USER_AGENT", "")

    @cached_property
    def action(self) -> str:
        """The operation's name, as IAM policies and boto3's documentation write it."""
        if self._protocol == "json":
            return str(self._environ["HTTP_X_AMZ_TARGET"]).rpartition(".")[2]
        method, query = str(self._environ["REQUEST_METHOD"]), str(self._environ["QUERY_STRING"])
        if self._protocol == "query":
            return self._form.get("Action", method)
        name = _s3_action(method, self._environ["PATH_INFO"], query)
        return "CopyObject" if name == "PutObject" and "HTTP_X_AMZ_COPY_SOURCE" in self._environ else name

    @property
    def _protocol(self) -> str:
        if self.service == "s3":
            return "s3"
        return "json" if "HTTP_X_AMZ_TARGET" in self._environ else "query"

    def fault_response(self, fault: CallFault) -> Response | None:
        """The error response to send instead of performing the call; None for a fault with which it is performed."""
        if isinstance(fault, Quota):
            config = self._json_body.get("ResourceConfig")
            config = config if isinstance(config, dict) else {}
            spot = "spot " if self._json_body.get("EnableManagedSpotTraining") else ""
            count = config.get("InstanceCount", 1)
            text = QUOTA_MESSAGE.format(type=config.get("InstanceType"), spot=spot, limit=fault.limit, count=count)
            return self.error_response(400, "ResourceLimitExceeded", text)
        if fault.kind not in ERROR_TEMPLATES:
            return None
        status, code, text = ERROR_TEMPLATES[fault.kind][self._protocol]
        user, action = f"arn:aws:iam::{ACCOUNT}:user/{KEY_ID}", f"{self.service}:{self.action}"
        return self.error_response(status, code, text.format(user=user, action=action, resource=self.resource))

    def error_response(self, status: int, code: str, message: str) -> Response:
        """An error in the service's wire format. Reads the request's body, so that the client reads this."""
        read_body(self._environ)
        request_id = str(uuid.uuid4())
        headers = {"x-amzn-RequestId": request_id}
        if self._protocol == "json":
            text = json.dumps({"__type": code, "message": message})
            return Response(text, status, headers, content_type="application/x-amz-json-1.1")
        error = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
        identified = f"<RequestId>{request_id}</RequestId>"
        text = (
            f"<Error>{error}{identified}</Error>"
            if self._protocol == "s3"
            else f"<ErrorResponse><Error>{error}</Error>{identified}</ErrorResponse>"
        )
        return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', status, headers, mimetype="application/xml")

    @property
    def _form(self) -> dict[str, str]:
        return dict(parse_qsl(self._environ["QUERY_STRING"] or read_body(self._environ).decode(errors="replace")))

    @property
    def _json_body(self) -> dict[str, Any]:
        try:
            document = json.loads(read_body(self._environ))
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @cached_property
    def resource(self) -> str:
        """ARN of the resource of the call, as in a policy; `*` where the call names none.

        `?versionId` is appended to an object's ARN where the call names a version, for which IAM has other actions.
        """
        if self.service == "s3":
            place = self._environ["PATH_INFO"].encode("latin-1").decode(errors="replace").strip("/")
            version = "?versionId" if "versionId=" in self._environ["QUERY_STRING"] else ""
            return f"arn:aws:s3:::{place}{version}" if place else "*"
        request = self._json_body if self._protocol == "json" else self._form
        named = next(((member, arn) for member, arn in ARN_BY_MEMBER.items() if member in request), None)
        if named:
            value = str(request[named[0]])
            arn = value if value.startswith("arn:") else named[1].format(value)
            stream = request.get("logStreamName")
            return f"{arn}:log-stream:{stream}" if stream else arn
        return "*"


def read_body(environ: dict[str, Any]) -> bytes:
    """The request's body; it can be read again afterwards."""
    body = get_input_stream(environ).read()
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return body


def _s3_action(method: str, path: str, query: str) -> str:
    bucket, _, key = path.lstrip("/").partition("/")
    level = "Object" if key else "Bucket" if bucket else ""
    for name in dict(parse_qsl(query, keep_blank_values=True)):
        if (method, level, name) in S3_ACTIONS:
            return S3_ACTIONS[method, level, name]
    part = next((one for one in query.split("&") if one and "=" not in one), "")
    return S3_ACTIONS.get((method, level, part)) or f"{method.title()}{level}{part[:1].upper()}{part[1:]}"
