"""The protocol bindings: `http` (JSON-RPC and HTTP+JSON) and `grpc`."""
