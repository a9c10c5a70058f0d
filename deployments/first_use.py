"""What `python -m deployments.blocks` knows before Prefect is imported or a server is started."""

import os
import re
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path


def find_region(profile: str | None = None) -> str | None:
    """Return the region of the environment or the profile, as AWS's tools find it; raises an error of botocore."""
    import boto3  # slow

    return os.environ.get("AWS_REGION") or boto3.Session(profile_name=profile).region_name


def has_credentials(profile: str | None = None) -> bool:
    """Return whether AWS's tools find credentials on this machine, valid or not; raises an error of botocore."""
    import boto3  # slow

    return boto3.Session(profile_name=profile).get_credentials() is not None


def missing_flags_message(name: str, missing: Collection[str]) -> str:
    return f"Give {' and '.join(missing)} too: no saved block named {name!r} has them yet."


def may_be_saved(name: str) -> bool:
    """Return whether Prefect may have a block of this name: only its local database is asked, and not its server."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles, database = home / "profiles.toml", home / "prefect.db"
    settings = "\n".join([*os.environ, profiles.read_text() if profiles.is_file() else ""])
    if re.search(r"PREFECT_(API_URL|\w*DATABASE)", settings):  # the blocks are elsewhere
        return True
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT 1 FROM block_document WHERE name = ?", [name]).fetchone())
    except sqlite3.Error:
        return True
