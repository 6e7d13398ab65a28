"""What the YAML means: its shape, its values, the files that make it, and every problem in them,
each at its place.
"""
