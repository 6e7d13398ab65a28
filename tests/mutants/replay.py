"""Plant every mutant of `mutants.py`, one at a time, in a copy of the tree, and run the test that
must find it.

    python tests/mutants/replay.py [--packets] [--only TEXT]

Without --packets only the mutants that unit tests find. Exit code 1 when a mutant was not found, or
no longer fits.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.mutants.mutants import MUTANTS, Mutant  # noqa: E402  the script is run by its path
from tests.mutants.planting import NoPlaceError, file_of, plant  # noqa: E402

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".work", "__pycache__", ".*_cache", ".hypothesis"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--packets", action="store_true", help="also those that only packets find (in the lab)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only mutants whose name holds TEXT"
    )
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in MUTANTS
        if options.only in mutant.name and (options.packets or not mutant.packets)
    ]
    with tempfile.TemporaryDirectory(prefix="warpd-mutants.") as folder:
        sound = Path(folder) / "sound"
        shutil.copytree(REPOSITORY, sound, ignore=LEFT_OUT)
        found = sum(is_found(mutant, sound, Path(folder)) for mutant in in_order(chosen))
    print(f"mutants found: {found} of {len(chosen)}")
    return 0 if found == len(chosen) else 1


def in_order(chosen: list[Mutant]) -> list[Mutant]:
    """Those of one test together; those that need the lab last."""
    return sorted(chosen, key=lambda mutant: (mutant.packets, mutant.found_by))


@functools.cache
def passes_without(sound: Path, test: str, packets: bool) -> bool:
    """Whether the test passes in the tree without any mutant."""
    sound_there = not fails(sound, test, packets)
    if not sound_there:
        print(f"UNSOUND   {test} fails without any mutant", flush=True)
    return sound_there


def is_found(mutant: Mutant, sound: Path, folder: Path) -> bool:
    if not passes_without(sound, mutant.found_by, mutant.packets):
        print(f"UNSOUND   {mutant.name}", flush=True)
        return False
    tree = folder / "planted"
    shutil.copytree(sound, tree)
    try:
        for edit in mutant.edits:
            file = tree / file_of(edit)
            file.write_text(plant(file.read_text(), edit))
        started = time.monotonic()
        found = fails(tree, mutant.found_by, mutant.packets)
        took = time.monotonic() - started
        print(
            f"{'found' if found else 'MISSED':<9} {mutant.name} ({mutant.found_by}, {took:.0f} s)",
            flush=True,
        )
        return found
    except NoPlaceError as error:
        print(f"NO PLACE  {mutant.name}: {error}")
        return False
    finally:
        shutil.rmtree(tree)


def fails(tree: Path, test: str, packets: bool) -> bool:
    """Whether a test fails in that tree; a run that never came to its tests is no finding."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "WARPD_VENV": sys.prefix, "LAB_MEM": "3G"}
    pytest = ("-q", "-x", "-m", "not long", "-p", "no:cacheprovider", test)
    lab = (str(tree / "tests/vm/lab"), "pytest", "uml", str(tree / "out"), "900", "--", *pytest)
    command = lab if packets else (sys.executable, "-B", "-m", "pytest", *pytest)
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    ended = "failed" in done.stdout or "error" in done.stdout or " passed" in done.stdout
    if not ended:
        raise SystemExit(
            f"{test}: the run itself broke\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
