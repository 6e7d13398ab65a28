"""Import the files of other gateways: networks, endpoints and keys in the form of the YAML.

Each kind of file has one module. `is_mine` recognizes a file by its first bytes, and `read` turns
it into an `ImportResult`. Nothing is guessed: a value that the old file does not state, or that
warpd cannot represent, is a finding.
"""

from __future__ import annotations

from warpd.imports import kahluna, wg_quick

SOURCES = (kahluna, wg_quick)
