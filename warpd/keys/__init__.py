"""Keys: derived from the master secret, or read from files that root alone can read."""
