"""YAML text with positions, and edits that change only the requested part of the text.

This package does not know warpd's fields.
"""
