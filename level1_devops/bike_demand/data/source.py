"""Reads the published feed from a folder, a web server or an object store through fsspec."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import fsspec
import tenacity

from bike_demand.core.current import clock_time
from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.data.month import month_start, next_month

T = TypeVar("T")

MAX_MISSING_MONTHS = 3  # consecutive missing months that end the search on a server without listings
FORMATS = (".csv", ".csv.gz", ".parquet")
_MONTH_FILE = re.compile(r"(?:^|/)(\d{4}-\d{2})(\.csv|\.csv\.gz|\.parquet)$", re.IGNORECASE)
# Keys of fsspec's file information that change with a file's content.
_CHANGE_ATTRIBUTES = ("ETag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "mtime", "ino")
_DEFINITE = (FileNotFoundError, NotADirectoryError)  # errors that a retry does not change


@dataclass(frozen=True)
class PublishedMonth:
    """A published month. `change_token` changes with the content; None if the source provides none."""

    month: str
    name: str  # file name
    address: str
    size: int | None
    change_token: str | None


class Source:
    """The feed at an address: a path, or any URL that fsspec has a driver for, like http(s):// or s3://.

    Raises UserError if the address is not understood.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            options, self._external_errors = _driver(address)
            # A new instance each time: fsspec caches instances, and with them listings and credentials.
            self._files, self._root = fsspec.url_to_fs(address, skip_instance_cache=True, **options)
        except (ValueError, ImportError, OSError) as error:
            raise UserError(
                f"{address}: this address cannot be read ({error}); give a folder, http(s):// or s3://"
            ) from None
        self._is_web = address.startswith(("http://", "https://"))
        self._is_local = "file" in self._files.protocol

    def list_months(self, first_month: str) -> list[PublishedMonth]:
        """The published months, ascending and without gaps.

        A web server without listings is probed month by month from `first_month`. Raises UserError if there
        are no months or one is missing in between, UnreachableError if the server does not respond.
        """
        names = self._with_retries(self._list)
        found = sorted({match.groups() for name in names if (match := _MONTH_FILE.search(name))})
        published = [self._find_month(*each) for each in found] if found or not self._is_web else None
        if published is None:
            published = self._probe_months(first_month)
        months = [each.month for each in published if each is not None]
        if not months:
            hint = f" (searched from first_month = {first_month})" if self._is_web else ""
            raise UserError(f"{self.address}: found no files like 2011-01.csv{hint}; check the address")
        for month, following in itertools.pairwise(months):
            if month == following:
                raise UserError(f"{self.address}: {month} is published in two formats; keep one of them")
            if next_month(month) != following:
                raise UserError(
                    f"{self.address}: {next_month(month)} is missing between {month} and {following}; ask the"
                    " operator to publish it"
                )
        return [each for each in published if each is not None]

    def fetch(self, published: PublishedMonth) -> bytes:
        """The content of a month. Raises UserError if its size differs from the published size."""

        def read_all() -> bytes:
            content: bytes = self._files.cat_file(published.address)
            if published.size is not None and len(content) != published.size:
                raise OSError(
                    f"received {len(content)} of {published.size} bytes (connection cut, or file changed)"
                )
            return content

        try:
            return self._with_retries(read_all)
        except FileNotFoundError:
            raise UserError(f"{self.describe(published.name)}: was listed but not found; try again") from None

    def describe(self, name: str) -> str:
        """The name of a file in messages."""
        return f"{self.address.rstrip('/')}/{name}"

    def _list(self) -> list[str]:
        try:
            return [str(name) for name in self._files.ls(self._root, detail=False)]
        except FileNotFoundError:
            if self._is_web:
                return []  # a server without an index page
            raise UserError(
                f"{self.address}: no such folder; set `feed` in params.yaml or BIKE_FEED"
            ) from None
        except self._external_errors as error:
            if self._is_web and getattr(error, "status", 500) < 500:
                return []  # listing is forbidden, but the files may be readable
            raise

    def _find_month(self, month: str, suffix: str) -> PublishedMonth | None:
        name = month + suffix
        try:
            month_start(month)
        except ValueError:
            raise UserError(f"{self.describe(name)}: {month} is not a month") from None
        address = f"{self._root.rstrip('/')}/{name}"

        def read_info() -> dict[str, Any] | None:
            try:
                info: dict[str, Any] = self._files.info(address)
            except FileNotFoundError as error:
                # fsspec raises this for any HTTP error; only statuses like 404 mean a missing file.
                if error.__cause__ is not None and getattr(error.__cause__, "status", 500) >= 500:
                    raise error.__cause__ from None
                return None
            return info

        info = self._with_retries(read_info)
        if info is None:
            return None
        if info.get("type") != "file":
            raise UserError(f"{self.describe(name)}: not a file but a {info.get('type')}; publish a file")
        attributes = [f"{mark}={info[mark]}" for mark in _CHANGE_ATTRIBUTES if info.get(mark)]
        size = info.get("size")
        change_token = f"{'; '.join(attributes)}; size={size}" if attributes else None
        return PublishedMonth(month, name, address, size, change_token)

    def _probe_months(self, first_month: str) -> list[PublishedMonth | None]:
        found: list[PublishedMonth | None] = []
        month, missing, formats = first_month, 0, list(FORMATS)
        # Some servers respond to any address, for example with a log-in page.
        while missing < MAX_MISSING_MONTHS and month_start(month) <= clock_time():
            published = next(filter(None, (self._find_month(month, each) for each in formats)), None)
            if published is not None and len(formats) > 1:  # assume the same format for the others
                formats = [published.name.removeprefix(month)]
            missing = 0 if published else missing + 1
            found.append(published)
            month = next_month(month)
        return found

    def _with_retries(self, operation: Callable[[], T]) -> T:
        """Run `operation`, at most three times if it fails in a way that may be transient."""
        retries = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 if self._is_local else 3),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=2),
            retry=tenacity.retry_if_exception_type(self._external_errors)
            & tenacity.retry_if_not_exception_type(_DEFINITE),
            reraise=True,
        )
        try:
            return retries(operation)
        except _DEFINITE:
            raise
        except self._external_errors as error:
            message = " ".join(str(error).split()) or type(error).__name__
            raise UnreachableError(
                f"{self.address}: cannot be read ({message}); check the address, then try again"
            ) from None


def _driver(address: str) -> tuple[dict[str, Any], tuple[type[Exception], ...]]:
    """The options of an address's driver, and its exceptions that may be transient or external.

    Its time-outs are so short that a dead address is reported while the user is still waiting.
    """
    if address.startswith(("http://", "https://")):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=60, connect=5, sock_read=20)
        return {"client_kwargs": {"timeout": timeout}}, (OSError, aiohttp.ClientError)
    if address.startswith("s3://"):
        import botocore.exceptions as errors

        config = {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 1}}
        return {"config_kwargs": config}, (OSError, errors.BotoCoreError, errors.ClientError)
    return {}, (OSError,)
