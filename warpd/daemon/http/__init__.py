"""The control socket: who may connect, what can be asked, and a bound on everything that a peer can
hold.
"""
