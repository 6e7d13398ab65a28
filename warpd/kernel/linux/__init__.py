"""The live machine: its namespaces, settings, files and programs."""
