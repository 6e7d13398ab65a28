"""Key derivation: the vectors of RFC 5869, one key per context, and a Secret that is not shown."""

from __future__ import annotations

import copy
import pickle
import subprocess
import traceback

import pytest

from warpd.keys import derivation
from warpd.keys.derivation import Secret, endpoint_key, hkdf, network_key, preshared_key, public_key

MASTER = Secret(bytes(range(32)))

# RFC 5869, appendix A, cases 1 to 3: secret, salt, context, length, result
RFC5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "context", "length", "result"), RFC5869)
def test_rfc_5869(secret: str, salt: str, context: str, length: int, result: str) -> None:
    assert (
        hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(context), length).hex()
        == result
    )


def test_public_keys_equal_those_of_wg_pubkey() -> None:
    private = network_key(MASTER, 12345678)
    text = derivation.encode(private.reveal())
    done = subprocess.run(
        ["wg", "pubkey"], input=text, capture_output=True, text=True, timeout=10, check=True
    )
    assert done.stdout.strip() == public_key(private)


def test_private_keys_are_clamped() -> None:
    for number in range(50):
        raw = network_key(MASTER, number).reveal()
        assert len(raw) == 32 and not raw[0] & 7 and raw[31] & 0xC0 == 0x40


def test_derived_keys_never_change() -> None:
    """A changed value would disconnect every existing client."""
    seen = (
        public_key(network_key(MASTER, 12345678)),
        public_key(endpoint_key(MASTER, 12345678, "phone-1")),
        derivation.encode(preshared_key(MASTER, 12345678, "phone-1").reveal()),
    )
    assert seen == FIXED


def test_every_context_has_its_own_key() -> None:
    made = [network_key(MASTER, vcid, turn) for vcid in (1, 11) for turn in (0, 1)]
    for derive in (endpoint_key, preshared_key):
        made += [
            derive(MASTER, vcid, name, turn)
            for vcid in (1, 11)
            for name in ("1", "a", "1-1")
            for turn in (0, 1)
        ]
    made.append(network_key(Secret(bytes(32)), 1))
    assert len(set(made)) == len(made)


def with_locals(secret: Secret) -> str:
    """Return a traceback with the local variables, as a crash reporter prints it."""
    try:
        raise RuntimeError(secret)
    except RuntimeError as failure:
        return "".join(
            traceback.TracebackException.from_exception(failure, capture_locals=True).format()
        )


def test_a_secret_is_not_shown() -> None:
    raw = b"0123456789abcdef0123456789ABCDEF"
    secret = Secret(raw)
    texts = [
        with_locals(secret),
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret!s}",
        str([secret]),
    ]
    for text in texts:
        assert (
            "0123456789" not in text
            and raw.hex() not in text
            and derivation.encode(raw) not in text
        )
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
    with pytest.raises(AttributeError):
        secret._bytes = b""
    assert copy.deepcopy(secret) == copy.copy(secret) == secret != Secret(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "A" * 44,
        "A" * 42 + "B=",
        derivation.encode(bytes(31)),
        derivation.encode(bytes(32)) + "\n",
    ],
)
def test_invalid_base64_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        derivation.decode(text)
    assert not text or text not in str(caught.value)


FIXED = (
    "Cm5H+7M82Q7aXf6qCmIR/e0Li/fAfScM4vLeJ5E2Vms=",
    "LspRFy1ViTUwJGAZesbro7HLzWBmNdnqGknRPTbGzCU=",
    "1FUvs/fJw7wKuYrXvGUKa7AbepEoJySbohYYY9MBN6M=",
)
