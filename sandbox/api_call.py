"""The API call of an HTTP request, and error responses with the message and wire format of its service."""

import json
import re
import uuid
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from sandbox.account import ACCOUNT, REGION, SAGEMAKER_ARN, USER_ARN
from sandbox.faults import FAULT_KINDS, Fault
from sandbox.storage import SIGNATURE_SCOPE, read_body

JSON_CONTENT_TYPE = "application/x-amz-json-1.1"
INTERNAL_USER_AGENT = "sandbox-itself"
"""Part of the user agent of calls that the sandbox makes to run jobs; faults do not apply to these calls."""
ACCESS_KEY_ID = re.compile(r"(?:Credential|AWSAccessKeyId)=([^/%&,]+)")
"""The access key id in the header or presigned URL of a request, with signature version 4 or 2."""
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
"""By method, level and query parameter; other names are composed: GET of an object's `tagging` is GetObjectTagging."""
ENDPOINT_ARN = f"{SAGEMAKER_ARN}endpoint/"
INVOCATION_PATH = re.compile(r"/endpoints/([^/]+)/invocations")
IAM_PREFIXES = {"monitoring": "cloudwatch"}
"""Prefix of a service's actions in IAM, where it is not the name in signatures."""
ARN_BY_MEMBER = {
    "TrainingJobName": f"{SAGEMAKER_ARN}training-job/",
    "EndpointName": ENDPOINT_ARN,
    "EndpointConfigName": f"{SAGEMAKER_ARN}endpoint-config/",
    "ModelName": f"{SAGEMAKER_ARN}model/",
    "logGroupName": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:",
    "ModelPackageGroupName": f"{SAGEMAKER_ARN}model-package-group/",
    "ModelPackageArn": f"{SAGEMAKER_ARN}model-package/",
    "ModelPackageName": f"{SAGEMAKER_ARN}model-package/",
    "ResourceArn": SAGEMAKER_ARN,
    "RoleName": f"arn:aws:iam::{ACCOUNT}:role/",
    "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/",
    "KeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/",
}
"""Prefix of the ARN of a resource by the request member that names it; the first member that a request has is used."""
ALARM_ARN = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:"
SCALING_ACTIONS = ("RegisterScalableTarget", "DeregisterScalableTarget", "PutScalingPolicy", "DeleteScalingPolicy")
"""Actions of Application Auto Scaling on a target, whose ARN has an id that the calls do not contain."""


def json_response(status: int, document: Any, content_type: str = "application/json") -> Response:
    """A response with a JSON document and a new request id."""
    return Response(json.dumps(document), status, {"x-amzn-RequestId": str(uuid.uuid4())}, content_type=content_type)


def runtime_error(status: int, code: str, message: str, **members: Any) -> Response:
    """An error of SageMaker's runtime API, which has its code in a header."""
    response = json_response(status, {"Message": message, **members})
    response.headers["x-amzn-ErrorType"] = code
    return response


class ApiCall:
    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        signature = environ.get("HTTP_AUTHORIZATION", "") or environ["QUERY_STRING"]
        match, key_id = SIGNATURE_SCOPE.search(signature), ACCESS_KEY_ID.search(signature)
        # Unsigned calls with a form are those of STS that exchange another token for keys.
        has_form = key_id is None and "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", "")
        unsigned = "sts" if has_form else "s3"
        name = match["service"].lower() if match else unsigned
        self.service = IAM_PREFIXES.get(name, name)
        self.access_key_id = key_id[1] if key_id else ""
        is_invocation = self.service == "sagemaker" and INVOCATION_PATH.fullmatch(environ["PATH_INFO"])
        self.invoked_endpoint = is_invocation[1] if is_invocation else None
        """Name of the endpoint that the call invokes; None for all other calls."""
        self._protocol = self._find_protocol()
        self.is_internal = INTERNAL_USER_AGENT in environ.get("HTTP_USER_AGENT", "")

    def _find_protocol(self) -> str:
        if self.service == "s3":
            return "s3"
        return "json" if self.invoked_endpoint or "HTTP_X_AMZ_TARGET" in self._environ else "query"

    @cached_property
    def action(self) -> str:
        """The operation's name, as IAM policies and boto3's documentation write it."""
        if self.invoked_endpoint:
            return "InvokeEndpoint"
        if self._protocol == "json":
            return str(self._environ["HTTP_X_AMZ_TARGET"]).rpartition(".")[2]
        method, query = str(self._environ["REQUEST_METHOD"]), str(self._environ["QUERY_STRING"])
        if self._protocol == "query":
            return str(self.parameters.get("Action", method))
        name = _s3_action(method, self._environ["PATH_INFO"], query)
        return "CopyObject" if name == "PutObject" and "HTTP_X_AMZ_COPY_SOURCE" in self._environ else name

    def fault_response(self, fault: Fault) -> Response | None:
        """The error response that replaces the call, or None for a fault with which the call is performed."""
        template = FAULT_KINDS[fault.kind].errors.get(self._protocol)
        if template is None:
            return None
        read_body(self._environ)  # clients send the whole request before they read the response
        status, code, message = template
        config = self.parameters.get("ResourceConfig", {})
        text = message.format(
            user=USER_ARN,
            action=f"{self.service}:{self.action}",
            resource=self.resource,
            instance_type=config.get("InstanceType"),
            spot="spot " if self.parameters.get("EnableManagedSpotTraining") else "",
            limit=fault.limit,
            count=config.get("InstanceCount", 1),
        )
        return self.error_response(status, code, text)

    def error_response(self, status: int, code: str, message: str) -> Response:
        """An error in the service's wire format."""
        if self.invoked_endpoint:
            return runtime_error(status, code, message)
        if self._protocol == "json":
            return json_response(status, {"__type": code, "message": message}, JSON_CONTENT_TYPE)
        text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        if self._protocol == "query":
            text = f"<ErrorResponse>{text}</ErrorResponse>"
        headers = {"x-amzn-RequestId": str(uuid.uuid4())}
        return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', status, headers, mimetype="application/xml")

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a call in the JSON or query protocol; empty if the body cannot be parsed."""
        if self._protocol == "query":
            return dict(parse_qsl(self._environ["QUERY_STRING"] or read_body(self._environ).decode(errors="replace")))
        try:
            has_document = self._protocol == "json" and not self.invoked_endpoint
            document = json.loads(read_body(self._environ)) if has_document else {}
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @cached_property
    def resource(self) -> str:
        """ARN of the resource of the call, as in a policy; `*` if the call names none.

        `?versionId` is appended to the ARN of an object if the call names a version, which has its own IAM actions.
        """
        if self.service == "s3":
            path = self._environ["PATH_INFO"].encode("latin-1").decode(errors="replace").strip("/")
            version = "?versionId" if "versionId=" in self._environ["QUERY_STRING"] else ""
            return f"arn:aws:s3:::{path}{version}" if path else "*"
        if self.invoked_endpoint:
            return f"{ENDPOINT_ARN}{self.invoked_endpoint}"
        if self.service == "application-autoscaling" and self.action in SCALING_ACTIONS:
            return f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/*"
        member = next((member for member in ARN_BY_MEMBER if member in self.parameters), None)
        if member is None:
            return "*"
        value, stream = str(self.parameters[member]), self.parameters.get("logStreamName")
        arn = value if value.startswith("arn:") else f"{ARN_BY_MEMBER[member]}{value}"
        return f"{arn}:log-stream:{stream}" if stream else arn

    @property
    def resources(self) -> list[str]:
        """ARNs of all resources of the call: those of an endpoint and its configuration, or of several alarms."""
        parameters = self.parameters
        if self.service == "cloudwatch":
            listed = [
                value for member, value in parameters.items() if re.fullmatch(r"AlarmNames?(\.member\.\d+)?", member)
            ]
            names = listed[0] if listed and isinstance(listed[0], list) else listed
            return [f"{ALARM_ARN}{name}" for name in names] or ["*"]
        if self.action in {"CreateEndpoint", "UpdateEndpoint"} and "EndpointConfigName" in parameters:
            return [self.resource, f"{ARN_BY_MEMBER['EndpointConfigName']}{parameters['EndpointConfigName']}"]
        return [self.resource]


def _s3_action(method: str, path: str, query: str) -> str:
    bucket, _, key = path.lstrip("/").partition("/")
    level = "Object" if key else "Bucket" if bucket else ""
    for name in dict(parse_qsl(query, keep_blank_values=True)):
        if (method, level, name) in S3_ACTIONS:
            return S3_ACTIONS[method, level, name]
    part = next((one for one in query.split("&") if one and "=" not in one), "")
    return S3_ACTIONS.get((method, level, part)) or f"{method.title()}{level}{part[:1].upper()}{part[1:]}"
