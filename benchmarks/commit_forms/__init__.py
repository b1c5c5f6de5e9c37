"""Measurements of the ways to commit one node result on JetStream."""
