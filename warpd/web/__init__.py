"""The dashboard: a process of its own, without any right, that turns what the daemon's socket says
into pages.

It imports nothing of warpd but this room. Each request of a browser carries its user's token, and
the daemon alone decides what that token may see and do.
"""
