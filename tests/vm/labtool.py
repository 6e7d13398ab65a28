"""The lab's chores that are no fun in shell: read apt's sources, unpack a kernel image, count a
junit.xml.
"""

from __future__ import annotations

import lzma
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

FALLBACK_MIRROR = "http://deb.debian.org/debian"
DEBIAN_SUITES = re.compile(
    r"(stable|oldstable|testing|unstable|sid|bookworm|trixie|forky)(-updates|-backports)?/?"
)


def sources(apt: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield (URI, suites, components) of every enabled binary source, from one-line (.list) and
    deb822 (.sources) files.
    """
    for file in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        for line in file.read_text().splitlines() if file.is_file() else []:
            if match := re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line):
                yield match[1], [match[2]], match[3].split()
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        text = re.sub(r"^#.*\n", "", file.read_text() + "\n", flags=re.M)
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, flags=re.M))
            field = {name.lower(): value.split() for name, value in fields.items()}
            if "deb" in field.get("types", []) and field.get("enabled") != ["no"]:
                for uri in field.get("uris", []):
                    yield uri, field.get("suites", []), field.get("components", [])


def mirror(apt: str) -> str:
    """The Debian archive that this machine uses, or the public one."""
    found = [
        uri
        for uri, suites, components in sources(Path(apt))
        if "main" in components and any(DEBIAN_SUITES.fullmatch(suite) for suite in suites)
    ]
    # other archives name their suites after Debian's too
    found.sort(key=lambda uri: not re.search(r"/debian/?$", uri))
    return found[0] if found else FALLBACK_MIRROR


def vmlinux(image: str, target: str) -> None:
    """Write the ELF kernel inside a bzImage (Documentation/arch/x86/boot.rst: setup_sects,
    payload_offset, payload_length).
    """
    data = Path(image).read_bytes()
    start = ((data[0x1F1] or 4) + 1) * 512
    offset, length = (int.from_bytes(data[at : at + 4], "little") for at in (0x248, 0x24C))
    payload = data[start + offset :][:length]
    if payload.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(
        b"\x28\xb5\x2f\xfd"
    ):  # zstd, with the unpacked size in four bytes at the end
        kernel = subprocess.run(
            ["zstd", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True, timeout=120
        ).stdout
    else:
        sys.exit(f"lab: unknown compression of {image}")
    if not kernel.startswith(b"\x7fELF"):
        sys.exit(f"lab: no ELF kernel in {image}")
    Path(target).write_bytes(kernel)


def junit(out: str, floor: int) -> int:
    """Print the counts of OUT/junit.xml and the name of each skipped test; 1 when it is missing or
    below the floor.
    """
    uname = Path(out, ".lab/uname")
    release = uname.read_text().strip() if uname.is_file() else "?"
    try:
        root = ET.parse(Path(out, "junit.xml")).getroot()
    except (OSError, ET.ParseError) as error:
        print(f"lab: kernel={release} no junit.xml: {error}")
        return 1
    cases = list(root.iter("testcase"))
    skips = [(case, skip) for case in cases if (skip := case.find("skipped")) is not None]
    failed = sum(
        case.find("failure") is not None or case.find("error") is not None for case in cases
    )
    passed = len(cases) - failed - len(skips)
    seconds = sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
    for case, skip in skips:
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        print(f"lab: skipped {name}: {skip.get('message', '')}")
    print(
        f"lab: kernel={release} tests={len(cases)} passed={passed} failed={failed}"
        f" skipped={len(skips)} seconds={seconds:.1f}"
    )
    if passed < floor:
        print(f"lab: only {passed} passed, the floor is {floor}")
    return int(passed < floor)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["mirror", apt]:
            print(mirror(apt))
        case ["vmlinux", image, target]:
            vmlinux(image, target)
        case ["junit", out, floor]:
            sys.exit(junit(out, int(floor)))
        case _:
            sys.exit(
                "usage: labtool.py mirror APT_DIR | vmlinux BZIMAGE TARGET | junit OUTDIR FLOOR"
            )
