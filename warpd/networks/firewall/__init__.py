"""The firewall of the root namespace and what the firewalls of all isolation modes share. Pure."""
