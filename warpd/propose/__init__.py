"""`warpd-propose` pushes proposed changes of the YAML as branches; it alone has the deploy key."""
