"""When the temporary keys expire that the sandbox's STS hands out; they are lost when the server stops."""

import re
from datetime import UTC, datetime, timedelta

from werkzeug.wrappers import Response

_KEY_ID = re.compile(r"<AccessKeyId>(.*?)</AccessKeyId>")
_EXPIRATION = re.compile(r"(?<=<Expiration>).*?(?=</Expiration>)")


class TemporaryKeys:
    def __init__(self) -> None:
        self._expirations: dict[str, datetime] = {}

    def record(self, response: Response, seconds: float | None) -> None:
        """Record the keys in a response to AssumeRole; with `seconds`, the response is changed to expire after them."""
        text = response.get_data(as_text=True)
        key_id, expiration = _KEY_ID.search(text), _EXPIRATION.search(text)
        if key_id is None or expiration is None:
            return  # an error response
        end = datetime.fromisoformat(expiration[0])
        if seconds is not None:
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            response.set_data(_EXPIRATION.sub(end.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), text))
        self._expirations[key_id[1]] = end

    def have_expired(self, access_key_id: str) -> bool:
        """Whether these are temporary keys after their end; other keys do not expire."""
        end = self._expirations.get(access_key_id)
        return end is not None and datetime.now(UTC) >= end
