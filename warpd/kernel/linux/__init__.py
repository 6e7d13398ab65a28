"""The machine that warpd runs on: its kernel, namespaces, settings, files and programs."""
