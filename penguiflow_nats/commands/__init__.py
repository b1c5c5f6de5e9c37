"""The sub-commands of `penguiflow` that talk to a NATS server."""
