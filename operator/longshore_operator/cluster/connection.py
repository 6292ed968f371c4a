"""Login: in a pod by its service account, elsewhere by KUBECONFIG. Makes HTTP sessions that stay logged in."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from longshore_operator.cluster.answers import Response
from longshore_operator.errors import LoginError

logger = logging.getLogger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
Middleware = Callable[[aiohttp.ClientRequest, Handler], Awaitable[aiohttp.ClientResponse]]

_RELOGIN_INTERVAL_S = 10.0  # after a 401, credentials are read anew at most this often


class Connection:
    """Where the API server is, and the credentials to use; one a process."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._ssl = _ssl_context(configuration)
        self._relogin_lock = asyncio.Lock()
        self._relogin_after = 0.0  # loop time

    @property
    def server(self) -> str:
        """Base URL, without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    def open_session(self, *middlewares: Middleware) -> aiohttp.ClientSession:
        """A session that sends our credentials with each request, renewed when they expire. The caller closes it."""
        chain: Sequence[Any] = (*middlewares, self._authorize)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            headers={"User-Agent": "longshore-operator", "Accept": "application/json"},
            middlewares=chain,
            proxy=self._configuration.proxy or None,
            read_bufsize=2**20,
            response_class=Response,
        )

    async def _authorize(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        # Asked for at each request: a service account's token is replaced on disk about once an hour.
        await self._set_authorization(request)
        response = await handler(request)
        if response.status == 401 and await self._login_again():
            response.release()
            await self._set_authorization(request)
            response = await handler(request)
        return response

    async def _set_authorization(self, request: aiohttp.ClientRequest) -> None:
        bearer = (await self._configuration.auth_settings()).get("BearerToken")
        token = bearer["value"] if bearer else None
        if token:
            request.headers["Authorization"] = token
        elif self._configuration.username and self._configuration.password:
            request.headers["Authorization"] = self._configuration.get_basic_auth_token() or ""

    async def _login_again(self) -> bool:
        loop = asyncio.get_running_loop()
        async with self._relogin_lock:
            if loop.time() < self._relogin_after:
                return False
            self._relogin_after = loop.time() + _RELOGIN_INTERVAL_S
            try:
                self._configuration = await _load()
            except LoginError:
                logger.exception("credentials could not be read again", extra={"action": "login"})
                return False
            return True


async def login() -> Connection:
    """Read the credentials: KUBECONFIG when set, else the service account, else ``~/.kube/config``.

    Raises LoginError with what was tried.
    """
    return Connection(await _load())


def own_namespace() -> str | None:
    """The namespace of the pod this process runs in; None outside of a cluster."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip() or None
    except OSError:
        return None


async def _load() -> Configuration:
    configuration = Configuration()
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        if not os.environ.get("KUBECONFIG") and (SERVICE_ACCOUNT / "token").exists():
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # has no annotations
        elif not _any_exists(files):
            raise LoginError(
                f"no credentials for the Kubernetes API server: this is no pod with a service account, and {files} is "
                "not there; set KUBECONFIG"
            )
        else:
            # The library's own default was read from the environment when it was imported.
            await load_kube_config(files, client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]  # has no annotations
    except (ConfigException, OSError, ValueError) as error:
        raise LoginError(f"no credentials for the Kubernetes API server: {error}; correct {files}") from error
    return configuration


def _any_exists(files: str) -> bool:
    return any(Path(each).is_file() for each in files.split(os.pathsep))


def _ssl_context(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
