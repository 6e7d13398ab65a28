"""Arguments in, exit code out; the same functions as the daemon calls."""
