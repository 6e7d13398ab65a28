"""Kinds of kernel objects. One file a kind; what they share is in `warpd.kernel.state`."""
