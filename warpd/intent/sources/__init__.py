"""Where the YAML comes from. One file a source."""
