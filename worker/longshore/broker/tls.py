"""TLS towards Redis: what is trusted, what is shown, and which name the server must have."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Connection

from longshore.errors import InvalidOption


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisTls:
    """How a ``rediss…://`` connection is made. Certificates and keys are PEM: in a file, or as text.

    Files are read when a connection is opened for the first time; a process that shall use others is started anew.
    """

    ca_file: str | Path | None = None  # these authorities and no others are trusted; None: the system's
    ca_data: str | None = None  # the same as text
    cert_file: str | Path | None = None  # the client's own certificate, with those of its chain
    cert_data: str | None = None
    key_file: str | Path | None = None  # None: it is in the certificate's file
    key_data: str | None = field(default=None, repr=False)
    server_name: str | None = None  # that the server's certificate must be for; None: the host as it is connected to
    insecure_skip_verify: bool = False  # neither authority nor name is verified: anybody may answer for Redis

    def __post_init__(self) -> None:
        """Raises InvalidOption for fields that contradict each other."""
        for name in ("ca", "cert", "key"):
            if getattr(self, f"{name}_file") is not None and getattr(self, f"{name}_data") is not None:
                raise InvalidOption(f"redis TLS {name}", f"give either {name}_file or {name}_data, not both")
        if self.key_data is not None and self.cert_data is None:
            raise InvalidOption("redis TLS key_data", "needs cert_data, the certificate that belongs to it")
        if self.cert_data is not None and self.key_data is None:
            raise InvalidOption("redis TLS cert_data", "needs key_data, the key that belongs to it")
        if self.key_file is not None and self.cert_file is None:
            raise InvalidOption("redis TLS key_file", "needs cert_file, the certificate that belongs to it")


def tls_context(tls: RedisTls) -> ssl.SSLContext:
    """The context of every connection. Raises InvalidOption, naming the field, when a certificate cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies authority and name
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _trust(context, tls)
    if tls.cert_file is not None:
        named = {"cert_file": tls.cert_file, "key_file": tls.key_file}
        _show(context, tls.cert_file, tls.key_file, {name: path for name, path in named.items() if path is not None})
    elif tls.cert_data is not None and tls.key_data is not None:
        # OpenSSL's own way in takes files only, and a key must not lie on a disk.
        with _in_memory(f"{tls.cert_data}\n{tls.key_data}\n") as path:
            _show(context, path, None, {"cert_data": None, "key_data": None})
    return context


def _trust(context: ssl.SSLContext, tls: RedisTls) -> None:
    if tls.ca_file is None and tls.ca_data is None:
        if not tls.insecure_skip_verify:  # which needs none: reading the system's takes some 30 ms
            context.load_default_certs()
        return
    name = "ca_data" if tls.ca_file is None else "ca_file"
    try:
        context.load_verify_locations(cafile=tls.ca_file, cadata=tls.ca_data)
    except ssl.SSLError:
        where = "" if tls.ca_file is None else f"{tls.ca_file}: "
        raise InvalidOption(f"redis TLS {name}", f"{where}holds no certificate in PEM") from None
    except (OSError, ValueError) as error:
        raise InvalidOption(f"redis TLS {name}", _system_reason(tls.ca_file, error)) from None


def _show(
    context: ssl.SSLContext, certificate: str | Path, key: str | Path | None, named: Mapping[str, str | Path | None]
) -> None:
    """Show that certificate to servers. ``named``: the fields it comes from, and their files, for the error."""
    try:
        # The password is for encrypted keys: without one, OpenSSL would ask whoever sits at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        fields = " and ".join(named)
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "do not belong together: the key is not that of the certificate"
        else:
            problem = "must be a certificate and its key in PEM, the key without a password"
        raise InvalidOption(f"redis TLS {fields}", problem) from None
    except (OSError, ValueError) as error:
        for name, path in named.items():
            if path is not None and not os.access(path, os.R_OK):
                raise InvalidOption(f"redis TLS {name}", _system_reason(path, error)) from None
        raise InvalidOption(f"redis TLS {' and '.join(named)}", str(error)) from None


def _system_reason(path: str | Path | None, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason if path is None else f"{path}: {reason}"


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path under which the text can be read for the length of a block, by this process."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("longshore-redis-tls", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:  # no Linux: a file that only this user may read, and that is gone at once
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            yield file.name


class TlsConnection(Connection):
    """A connection of redis-py's with a context that all of them share: reading certificates anew takes longer."""

    def __init__(self, *, tls_context: ssl.SSLContext, tls_server_name: str | None = None, **options: Any) -> None:
        """``options`` are redis-py's for a plain connection."""
        super().__init__(**options)
        self._tls_context = tls_context
        self._tls_server_name = tls_server_name

    def _connection_arguments(self) -> Mapping[str, Any]:
        """What redis-py gives to ``asyncio.open_connection``."""
        arguments = {**super()._connection_arguments(), "ssl": self._tls_context}
        if self._tls_server_name is not None:
            arguments["server_hostname"] = self._tls_server_name
        return arguments
