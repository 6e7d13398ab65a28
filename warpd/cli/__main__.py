"""`python -m warpd.cli` is `warpctl`."""

from __future__ import annotations

from warpd.cli.app import main

if __name__ == "__main__":
    main()
