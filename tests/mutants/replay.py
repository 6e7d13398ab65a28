"""Plant every mutant of `mutants.py`, one at a time, in a copy of the tree, and run the test that
must find it.

    python tests/mutants/replay.py [--packets] [--only TEXT] [--jobs N]

Without --packets only the mutants that unit tests find. Mutants of different tests are planted side
by side. Exit code 1 when a mutant was not found, or no longer fits.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
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
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="tests at a time; as many as processors, unless given",
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
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as workers:
            found = sum(workers.map(lambda same: found_of(same, sound), by_test(chosen)))
    print(f"mutants found: {found} of {len(chosen)}")
    return 0 if found == len(chosen) else 1


def by_test(chosen: list[Mutant]) -> list[list[Mutant]]:
    """Mutants of one test together; those that need the lab first, since they take longest."""

    def place(mutant: Mutant) -> tuple[bool, str]:
        return (not mutant.packets, mutant.found_by)

    return [list(same) for _, same in itertools.groupby(sorted(chosen, key=place), place)]


def found_of(mutants: list[Mutant], sound: Path) -> int:
    """How many mutants of one test it finds: none, when it fails without any mutant."""
    test, packets = mutants[0].found_by, mutants[0].packets
    with tempfile.TemporaryDirectory(prefix="planted.", dir=sound.parent) as folder:
        untouched = Path(folder) / "untouched"
        shutil.copytree(sound, untouched)
        if fails(untouched, test, packets):
            names = "; ".join(mutant.name for mutant in mutants)
            print(f"UNSOUND   {test} fails without any mutant: {names}", flush=True)
            return 0
        return sum(is_found(mutant, sound, Path(folder)) for mutant in mutants)


def is_found(mutant: Mutant, sound: Path, folder: Path) -> bool:
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
