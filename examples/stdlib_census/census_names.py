"""The names by which the processes of the demo find each other."""

TENANT = "census"
"""Whose messages these are: streams, workers and agents of a tenant see no other's."""
AGENT = "summary"
"""The agent that says a paragraph about a package."""
SKILL = "summarise"
"""What it can do."""
