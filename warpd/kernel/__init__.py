"""The only door to the machine: the Protocol, the live kernel, and one in memory that passes the
same tests.
"""
