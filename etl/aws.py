"""Settings of S3 that users give where AWS's own programs look for them, checked before the first request.

Credentials, region and endpoint come from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
`AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`, and `~/.aws/`. A request that fails is tried again, `AWS_MAX_ATTEMPTS`
times in all.

A second server, with keys of its own, is an `S3Server`.

Source: AWS SDKs and Tools Reference Guide, environment variables.
"""

import configparser
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

__all__ = [
    "AwsSettingError", "S3Server", "access_keys", "attempts", "credentials", "endpoint", "is_unsigned", "region",
]  # fmt: skip

# Pauses between attempts double from half a second up to ten: about half a minute in all.
_ATTEMPTS = 8
_MOST_ATTEMPTS = 1000


class AwsSettingError(ValueError):
    """A setting cannot be used, whatever the server answers."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A server of which nothing is in the environment's settings of AWS; its keys are not shown."""

    address: str
    """`http://` or `https://` and the server's name."""

    access_key_id: str = field(default="", repr=False)
    """Name of its key; empty if requests go without a signature."""

    secret_access_key: str = field(default="", repr=False)
    """The key."""

    session_token: str = field(default="", repr=False)
    """What belongs to a key that expires; mostly empty."""


def attempts() -> int:
    """How often a request is tried, in all.

    Raises:
        AwsSettingError: `AWS_MAX_ATTEMPTS` is not a number from 1 on.
    """
    text = os.environ.get("AWS_MAX_ATTEMPTS", "").strip() or str(_ATTEMPTS)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= _MOST_ATTEMPTS:
        raise AwsSettingError(f"AWS_MAX_ATTEMPTS must be a whole number from 1 to {_MOST_ATTEMPTS}, got {text[:80]!r}")
    return int(text)


def credentials() -> dict[str, str]:
    """Where TensorStore finds credentials; its own default tries every source and logs each failure."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {"type": "environment"}
    file, config = _file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), _file("AWS_CONFIG_FILE", "config")
    if not file.exists():
        return {"type": "default"}
    return {"type": "profile", "profile": _profile(), "credentials_file": str(file), "config_file": str(config)}


def access_keys() -> dict[str, str]:
    """Keys of the profile, by the names of their environment variables; empty if the environment or nothing has them.

    Raises:
        AwsSettingError: the file with them cannot be read.
    """
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    found = dict[str, str]()
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    for variable, name, section in (
        ("AWS_CONFIG_FILE", "config", _section()),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", _profile()),
    ):
        config = _read(_file(variable, name))
        found |= {key.upper(): value for key in names if (value := config.get(section, key, fallback=""))}
    return found


def is_unsigned(variable: str = "AWS_NO_SIGN_REQUEST") -> bool:
    """Whether requests go without a signature, as to a public bucket; by default the variable is that of GDAL."""
    return os.environ.get(variable, "").upper() in ("YES", "TRUE", "1", "ON")


def endpoint() -> str:
    """Address of the server, without a slash at its end; empty for AWS itself.

    Raises:
        AwsSettingError: it is not the address of a server, or the file with it cannot be read.
    """
    text = _setting("endpoint_url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL").rstrip("/")
    if text and not _is_address(text):
        raise AwsSettingError(
            "AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config, must be http:// or https:// and a server's name, "
            f"such as https://minio.example.org:9000, got {text[:200]!r}"
        )
    return text


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port  # which raises if it is not a number below 65536
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and " " not in text
    other = parts.username or parts.query or parts.fragment
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not other


def region() -> str:
    """Name of the region; empty if none is given.

    Raises:
        AwsSettingError: it cannot be the name of a region, or the file with it cannot be read.
    """
    text = _setting("region", "AWS_REGION", "AWS_DEFAULT_REGION")
    if text and not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", text):
        raise AwsSettingError(
            f"AWS_REGION, or region in ~/.aws/config, must be a name such as us-east-1, got {text[:80]!r}"
        )
    return text


def _setting(option: str, *variables: str) -> str:
    """The first environment variable of `variables` that is set, else `option` in ~/.aws/config, else ""."""
    # TensorStore takes credentials from a profile, but neither region nor endpoint.
    values = [os.environ.get(variable, "") for variable in variables]
    if given := next(filter(None, values), ""):
        return given
    return _read(_file("AWS_CONFIG_FILE", "config")).get(_section(), option, fallback="")


def _read(file: Path) -> configparser.ConfigParser:
    """The settings in a file of AWS; none if it is absent."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(file)
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        text = str(error).splitlines()[0]  # further lines can show keys
        raise AwsSettingError(f"{file} must be a configuration file of AWS: {text}") from None
    return config


def _section() -> str:
    """Section of ~/.aws/config with the settings of the profile."""
    return "default" if _profile() == "default" else f"profile {_profile()}"


def _file(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable, f"~/.aws/{name}")).expanduser()


def _profile() -> str:
    return os.environ.get("AWS_PROFILE", "default")
