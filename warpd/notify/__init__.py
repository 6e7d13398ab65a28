"""`warpd-notify` sends warpd's events to webhooks; it is a client of the control socket."""
