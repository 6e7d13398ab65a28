"""Intent, allocations and facts about the host to kernel objects: types, isolation modes,
firewalls.

Pure.
"""
