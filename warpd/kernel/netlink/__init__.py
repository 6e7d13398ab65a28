"""Netlink messages as bytes: requests, dumps and events.

Knows sockets, and nothing of warpd's intent.
"""
