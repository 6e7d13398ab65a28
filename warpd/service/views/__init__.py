"""What people and programs see, as JSON and as text made from that JSON."""
