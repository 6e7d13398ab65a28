"""`warpctl web init`: a certificate that a TLS client takes by its fingerprint, once."""

from __future__ import annotations

import hashlib
import json
import ssl
from pathlib import Path

import pytest

from tests.command import Run
from warpd.web.options import parse_options

GW = "https://gw.example.com:8443"


def test_a_certificate_and_the_address_are_made_once(run: Run, tmp_path: Path) -> None:
    words = ("web", "init", "--folder", str(tmp_path), "--origin", "https://gw.example.com:8443")
    code, out, _ = run(*words, "-o", "json")
    assert code == 0
    key, pem = tmp_path / "web" / "key.pem", tmp_path / "web" / "certificate.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    der = ssl.PEM_cert_to_DER_cert(pem.read_text())
    assert (
        json.loads(out)["fingerprint"].replace(":", "").lower() == hashlib.sha256(der).hexdigest()
    )
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pem, key)

    before = key.read_bytes()
    assert run(*words)[0] != 0 and key.read_bytes() == before
    assert run(*words, "--renew")[0] == 0 and key.read_bytes() != before


def test_where_there_is_no_yaml_one_without_networks_is_made(run: Run, tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    assert run("web", "init", "--folder", str(tmp_path))[0] == 0
    assert run("-c", str(yaml), "validate")[0] == 0
    yaml.write_text("version: 1 # mine\n")
    assert run("web", "init", "--folder", str(tmp_path), "--renew")[0] == 0
    assert yaml.read_text() == "version: 1 # mine\n"


def test_the_link_leads_to_the_address_that_was_set_up(run: Run, tmp_path: Path) -> None:
    place = ("-c", str(tmp_path / "warp.yaml"), "--state-dir", str(tmp_path / "state"))
    for origin, words in (("https://localhost:8443", ()), (GW, ("--origin", GW, "--renew"))):
        assert run("web", "init", "--folder", str(tmp_path), *words)[0] == 0
        _, out, err = run(*place, "web", "login")
        assert out.startswith(f"{origin}/login#")
        assert ("ssh -L 8443:localhost:8443 " in err) is (origin != GW)
    assert run(*place, "web", "login", "--url", "https://x")[1].startswith("https://x/login#")


def test_the_dashboard_takes_what_was_made(run: Run, tmp_path: Path) -> None:
    assert run("web", "init", "--folder", str(tmp_path))[0] == 0
    lines = (tmp_path / "web.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    folder = tmp_path / "web"
    variables["WARPD_WEB_CERTIFICATE"] = str(folder / "certificate.pem")
    variables["WARPD_WEB_KEY"] = str(folder / "key.pem")
    options = parse_options([], variables)
    assert options.origins == {"https://localhost:8443"}
    assert (options.host, options.port) == ("127.0.0.1", 8443)


@pytest.mark.parametrize(
    "origin",
    [
        "gw.example.com",
        "http://gw.example.com",
        "https://gw.example.com/",
        "https://GW.example.com",
        "https://gw.example.com:443",
        "https://a b",
        "https://[::1",
        "https://anna@gw",
        "",
    ],
)
def test_what_no_browser_writes_is_refused(run: Run, tmp_path: Path, origin: str) -> None:
    code, _, err = run("web", "init", "--folder", str(tmp_path), "--origin", origin)
    assert code != 0 and "https://gw.example.com:8443" in err
    assert not list(tmp_path.rglob("*.pem"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--origin", "http://gw.example.com"],
        ["--origin", "https://gw", "--listen", "0.0.0.0:8443"],
        ["--origin", "https://gw", "--certificate", "c.pem"],
        ["--origin", "https://gw", "--listen", "8443"],
    ],
)
def test_the_dashboard_does_not_start_open_to_others_without_tls(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(words, {})
    assert ended.value.code == 2
