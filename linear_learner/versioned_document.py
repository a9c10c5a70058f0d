"""JSON documents that are written next to a model and have a version of their format."""

from typing import ClassVar, Self

from pydantic import BaseModel, ValidationError, field_validator

from linear_learner.errors import ArtifactError


class VersionedDocument(BaseModel, frozen=True):
    """A document with the field `format`, the version of its format; one with a higher version is refused."""

    FILE_NAME: ClassVar[str]
    LATEST_FORMAT: ClassVar[int]

    @classmethod
    def parse(cls, content: bytes | str, where: str) -> Self:
        """Return the document in `content`; raises ArtifactError when it is invalid or has a newer format."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            reason = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise ArtifactError(f"{where} is not a valid {cls.FILE_NAME} ({reason}). Give the one next to a model.tar.gz.")

    @field_validator("format", check_fields=False)
    @classmethod
    def _is_known(cls, value: int) -> int:
        if value > cls.LATEST_FORMAT:
            latest = cls.LATEST_FORMAT
            raise ValueError(f"{value}, but this version reads only up to {latest}: update train-linear-learner")
        return value
