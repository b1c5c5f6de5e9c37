"""Brokers that live in this process: for tests, development and the contract suites."""
