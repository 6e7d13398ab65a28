"""Observe, compare, plan, apply, verify.

The kernel and the target are arguments; no file, no clock.
"""
