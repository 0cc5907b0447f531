"""The configuration and the data directory, as the commands beside the server see them.

A command never makes a data directory: where none is, there is nothing to look after, and most likely the directory
was misspelt. SQLite lets it work beside a running server, which notices what changed.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from envproxy.command import UsageError
from envproxy.config import load
from envproxy.engine.catalog import FILENAME, Catalog, HostedFile
from envproxy.engine.channels import HostedPackage
from envproxy.engine.store import BlobStore
from envproxy.errors import EnvproxyError
from envproxy.pypi.show import wheel_key
from envproxy.settings import FILE_VARIABLE
from envproxy.tables import Config


@dataclass(frozen=True, slots=True)
class Data:
    """What is in the data directory; `hosted` and `channels` are the names of what is hosted here."""

    store: BlobStore
    catalog: Catalog
    hosted: tuple[str, ...]
    channels: tuple[str, ...]

    async def hosted_files(self) -> list[HostedFile]:
        """Every file of every hosted index of the configuration."""
        return [file for source in self.hosted for file in await files_of(self.catalog, source)]

    async def hosted_packages(self) -> list[HostedPackage]:
        """Every package of every hosted channel of the configuration."""
        return [package for channel in self.channels for package in await packages_of(self.catalog, channel)]

    async def names(self) -> dict[str, str]:
        """What files, and the metadata of wheels, are called, by SHA-256."""
        names = {}
        artifacts = await self.catalog.artifacts()
        keys = {wheel_key(file.source, file): file.filename for file in artifacts}
        for key, sha256 in (await self.catalog.sidecars_for(keys)).items():
            if sha256 is not None:
                names[sha256] = f"{keys[key]}.metadata"
        for file in await self.hosted_files():
            if file.metadata_sha256 is not None:
                names[file.metadata_sha256] = f"{file.filename}.metadata"
            names[file.sha256] = file.filename
        names |= {package.sha256: package.filename for package in await self.hosted_packages()}
        return names | {file.sha256: file.filename for file in artifacts}


async def files_of(catalog: Catalog, source: str) -> list[HostedFile]:
    """Every file of one hosted index, by project and filename."""
    projects = await catalog.hosted_projects(source)
    return [file for project in projects for file in await catalog.hosted_files(source, project)]


async def packages_of(catalog: Catalog, channel: str) -> list[HostedPackage]:
    """Every package of one hosted channel, by subdir and filename."""
    subdirs = await catalog.hosted_subdirs(channel)
    return [package for subdir in subdirs for package in await catalog.packages_of(channel, subdir)]


def config_of(args: Namespace) -> Config:
    """The configuration that the flags and the environment name. Raises ConfigError."""
    flags = {"server.listen": getattr(args, "listen", None), "server.data": args.data}
    named = args.config or os.environ.get(FILE_VARIABLE)
    overrides = {key: value for key, value in flags.items() if value is not None}
    return load(Path(named) if named else None, environ=os.environ, overrides=overrides)


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Data]:
    """The store and the open catalog. Raises EnvproxyError if there are none, or SQLite cannot use the catalog."""
    await asyncio.to_thread(check_exists, config)
    file = config.server.data / FILENAME
    try:
        async with Catalog(file) as catalog:
            yield Data(BlobStore(config.server.data), catalog, tuple(config.pypi.hosted), tuple(config.conda.hosted))
    except sqlite3.Error as error:
        raise EnvproxyError(
            f"the catalog {file} cannot be used: {error}", hint="may this user write there, and is the disk full?"
        ) from error


def check_exists(config: Config) -> None:
    """Raises UsageError unless a server has been at work in the data directory."""
    if not (config.server.data / FILENAME).exists():
        raise UsageError(
            f"there is no data directory at {config.server.data}",
            hint="name it with --data or server.data; envproxy serve makes it",
        )
