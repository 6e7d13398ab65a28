"""Triggers to passes: when to look, and what to say of it."""
