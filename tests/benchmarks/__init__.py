"""Benchmarks that take too long for every test run; each prints a table and the machine."""
