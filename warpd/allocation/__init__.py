"""Who holds which id, port, subnet and address. Nothing moves because something else changed."""
