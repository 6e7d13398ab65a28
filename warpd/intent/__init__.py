"""The meaning of the YAML: its fields and values, the files it is read from, and every problem in
them with its place.
"""
