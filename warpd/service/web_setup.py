"""What the dashboard needs before it may listen: a certificate, and the address browsers use."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from warpd.errors import WarpError

DAYS: Final = (
    397  # the longest that browsers take of a certificate (CA/Browser Forum, 2020 to 2026)
)
DEFAULT_ORIGIN: Final = "https://localhost:8443"
PRIVATE, PUBLIC = 0o600, 0o644
ORIGIN_VARIABLE: Final = "WARPD_WEB_ORIGINS"
FIRST_YAML: Final = """\
# Made by `warpctl web init`: no network yet. The dashboard adds one, or you do (man warp.yaml).
version: 1
networks: {}
"""


@dataclass(frozen=True, slots=True)
class WebFiles:
    """Where the files of the dashboard are, below the folder of the configuration."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "web" / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "web" / "key.pem"

    @property
    def environment(self) -> Path:
        return self.folder / "web.env"

    @property
    def yaml(self) -> Path:
        return self.folder / "warp.yaml"

    def origin(self) -> str:
        """The address by which browsers come: the first one that was set up."""
        try:
            lines = self.environment.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return DEFAULT_ORIGIN
        begin = f"{ORIGIN_VARIABLE}="
        found = [line.removeprefix(begin) for line in lines if line.startswith(begin)]
        words = found[-1].strip("\"'").split() if found else []
        return words[0] if words else DEFAULT_ORIGIN


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate: both files, and the SHA-256 that browsers show."""

    pem: bytes
    key_pem: bytes
    fingerprint: str


def host_of(origin: str) -> str:
    """The host of `https://HOST[:PORT]`.

    Raises:
        WarpError: it is something else.
    """
    try:
        parts = urlsplit(origin)
        is_plain = not (parts.path or parts.query or parts.fragment or parts.username)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        is_plain, host, port = False, "", None
    if parts_are_good(origin, host, port) and is_plain:
        return host
    raise WarpError(
        f"{origin[:80]} is no address of a dashboard",
        code="usage",
        who="operator",
        hint="write it as https://gw.example.com:8443",
    )


def parts_are_good(origin: str, host: str, port: int | None) -> bool:
    """Whether an origin is one of HTTPS, written as browsers write it."""
    if not host or origin != origin.lower() or any(char.isspace() for char in origin):
        return False
    return origin.startswith("https://") and port != 443


def make_certificate(host: str, now: datetime) -> Certificate:
    """A self-signed certificate for this host, and for loopback where the host is that."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    digest = made.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(made.public_bytes(serialization.Encoding.PEM), private, digest)


def _names(host: str) -> list[x509.GeneralName]:
    try:
        return [x509.IPAddress(ipaddress.ip_address(host))]
    except ValueError:
        return [x509.DNSName(host)]


def environment_text(origin: str) -> str:
    """The file by which the unit tells the dashboard under which address browsers come."""
    about = "# Made by `warpctl web init`; several addresses with spaces between them."
    return f"{about}\n{ORIGIN_VARIABLE}={origin}\n"
