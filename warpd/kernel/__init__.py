"""The kernel: object kinds, the Protocol of the machine, the codecs, and the live kernel."""
