"""Artifacts: big payloads kept in a store, so that only references travel."""
