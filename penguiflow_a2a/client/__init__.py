"""Agents called by A2A: `A2AHttpTransport` in `http`, `A2AGrpcTransport` in `grpc`."""
