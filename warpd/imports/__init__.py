"""Older gateways' files -> networks, endpoints and keys as the YAML would have them.

One file a kind of gateway.

A source tells its own by the first bytes (`is_mine`) and reads a file into `Found` (`read`).
Nothing is guessed: what the old file leaves open, or what warpd has no place for, is a finding.
"""

from __future__ import annotations

from warpd.imports import kahluna, wg_quick

SOURCES = (kahluna, wg_quick)
