"""`warpd-oidc` speaks to the provider by which people sign in, and verifies what it has signed."""
