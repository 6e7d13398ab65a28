"""YAML text with positions, and edits of it that change nothing else.

Knows nothing of warpd's fields.
"""
