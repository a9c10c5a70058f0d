"""moto, which plays S3, IAM, STS, KMS and CloudWatch Logs, behind one WSGI call."""

import io
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY, environ_key_for_header
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Response

from sandbox.account import ACCOUNT, REGION

SIGNED_FOR = re.compile(r"\d{8}(?:/|%2F)[\w-]+(?:/|%2F)(?P<service>[\w-]+)(?:/|%2F)aws4_request", re.IGNORECASE)
"""A signature's scope, in the header or in a presigned URL."""
ONE_APPLICATION = ("s3", "logs", "iam", "sts", "kms")
"""Services whose signed requests all go to the same part of moto, S3 Control's by path excepted."""

OTHER_KEY_ID = "AKIAEXAMPLE"
"""What moto reads any key id as that is not twenty capitals and digits."""


class EmulatorError(RuntimeError):
    """moto refused what the sandbox itself asked of it."""


class Emulator:
    """A fresh moto: its state is global to the process, so a new one empties it for all."""

    def __init__(self) -> None:
        self._dispatcher = DomainDispatcherApplication(create_backend_app)
        self._applications: dict[str, Any] = {}
        self.request("moto", "POST", "/moto-api/reset")

    def respond(self, environ: dict[str, Any]) -> Response:
        """The answer to one request, its work already done."""
        return Response.from_app(self._application(environ), environ)

    def _application(self, environ: dict[str, Any]) -> Any:
        # To find a service's application moto lists its own modules on disk: a third of the time of each request.
        service = SIGNED_FOR.search(environ.get("HTTP_AUTHORIZATION", ""))
        name = service["service"] if service else ""
        if name not in ONE_APPLICATION or environ["PATH_INFO"].startswith(("/moto-api", "/v20180820/")):
            return self._dispatcher
        if name not in self._applications:
            self._applications[name] = self._dispatcher.get_application(environ)
        return self._applications[name]

    def give_keys(self, user: str) -> None:
        """Take requests for this user's whose key id is none of AWS's; asked over HTTP, moto would choose an id."""
        _iam().create_access_key(user).access_key_id = OTHER_KEY_ID

    def policies(self, principal: str) -> list[Any] | None:
        """The documents of all policies a user, with its groups, or a role has; None when there is no such ARN."""
        iam = _iam()
        user = next((user for user in iam.users.values() if user.arn == principal), None)
        role = next((role for role in iam.roles.values() if role.arn == principal), None)
        holders = [user, *iam.get_groups_for_user(user.name)] if user else [role] if role else []
        inline = [document for holder in holders for document in holder.policies.values()]
        attached = [policy for holder in holders for policy in holder.managed_policies.values()]
        inline += [version.document for policy in attached for version in policy.versions if version.is_default]
        return [json.loads(document) for document in inline] if holders else None

    def request(  # noqa: PLR0913 - an HTTP request has this many parts
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """The sandbox's own request, without a socket between; `path` is not percent-encoded.

        Not found is an answer, any other refusal an `EmulatorError`.
        """
        environ = _environ(service, query, headers or {}, body)
        environ |= {"REQUEST_METHOD": method, "PATH_INFO": path.encode().decode("latin-1")}
        environ["RAW_URI"] = quote(path) + (f"?{query}" if query else "")
        answer = self.respond(environ)
        if answer.status_code >= 300 and answer.status_code != 404:
            raise EmulatorError(f"{service} {method} {path}: {answer.status} {answer.get_data(as_text=True)[:500]}")
        return answer


def _iam() -> Any:
    from moto.iam.models import iam_backends  # with the text of all of AWS's managed policies

    return iam_backends[ACCOUNT]["aws"]


def _environ(service: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    scope = f"Credential=sandbox/20240101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    return {
        PRESERVED_HEADER_NAMES_ENVIRON_KEY: {environ_key_for_header(name): name for name in headers},
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 {scope}",
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | {environ_key_for_header(name): value for name, value in headers.items()}
