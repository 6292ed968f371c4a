"""The keys of one cluster: a certificate authority, the API server's certificate, and the service accounts' key pair.

Made by the openssl program anew for each cluster, in a fraction of a second; nothing outlives the cluster's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localcluster.commands import run

_DAYS = "3650"
_NEW_KEY = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files of one cluster's keys, all PEM."""

    authority: Path  # signs the two certificates below; what clients trust
    server: Path
    server_key: Path
    kubelet_client: Path  # what the API server shows the kubelet, for logs and exec
    kubelet_client_key: Path
    accounts_key: Path  # signs service account tokens
    accounts_public_key: Path  # verifies them


def make(folder: Path, *, addresses: list[str], names: list[str]) -> Certificates:
    """Make the keys of a cluster whose API server answers at these IP addresses and DNS names."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority, authority_key = folder / "ca.crt", folder / "ca.key"
    run(
        [
            *("openssl", "req", "-x509", *_NEW_KEY, "-subj", "/CN=longshore local cluster", "-days", _DAYS),
            *("-keyout", authority_key, "-out", authority),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
        ]
    )
    alternatives = ",".join([*(f"IP:{address}" for address in addresses), *(f"DNS:{name}" for name in names)])
    server = _sign(
        folder, "server", subject="/CN=kube-apiserver", usage="serverAuth", extra=f"subjectAltName={alternatives}"
    )
    # The kubelet lets this group do everything.
    client = _sign(folder, "kubelet-client", subject="/O=system:masters/CN=kube-apiserver", usage="clientAuth")
    accounts_key, accounts_public_key = folder / "accounts.key", folder / "accounts.pub"
    run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", accounts_key])
    run(["openssl", "pkey", "-in", accounts_key, "-pubout", "-out", accounts_public_key])
    return Certificates(
        authority=authority,
        server=server[0],
        server_key=server[1],
        kubelet_client=client[0],
        kubelet_client_key=client[1],
        accounts_key=accounts_key,
        accounts_public_key=accounts_public_key,
    )


def _sign(folder: Path, name: str, *, subject: str, usage: str, extra: str = "") -> tuple[Path, Path]:
    certificate, key, request = folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.csr"
    run(["openssl", "req", *_NEW_KEY, "-subj", subject, "-keyout", key, "-out", request])
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n{extra}\n"
    )
    run(
        [
            *("openssl", "x509", "-req", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"),
            *("-CAcreateserial", "-days", _DAYS, "-extfile", extensions, "-out", certificate),
        ]
    )
    return certificate, key
