"""For tests: a kernel in memory that passes the same conformance tests as the live one."""
