"""The language of nftables: our table as commands and listings, and what rules do with a packet.

Pure.
"""
