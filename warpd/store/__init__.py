"""Files that are whole or as before: the state folder, the operator's YAML, and files that a
command writes.
"""
