"""Keys. They are derived from the master secret, or read from files that only root can read."""
