"""The agent as a NATS micro service (ADR-32): `nats micro ls`, `info` and `stats` see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.subscription import Subscription

_TYPE = "io.nats.micro.v1"


class Endpoint:
    """A skill as an endpoint, with its counters."""

    def __init__(self, name: str, subject: str, queue: str, metadata: dict[str, str]) -> None:
        self.name = name
        self.subject = subject
        self.queue = queue
        self.metadata = metadata
        self.requests = 0
        self.errors = 0
        self.seconds = 0.0
        self.last_error = ""

    def count(self, seconds: float, error: str) -> None:
        """A call is over; `error` is empty when it has a result."""
        self.requests += 1
        self.seconds += seconds
        if error:
            self.errors += 1
            self.last_error = error[:200]

    def info(self) -> dict[str, Any]:
        """As INFO lists it."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue,
            "metadata": self.metadata,
        }

    def stats(self) -> dict[str, Any]:
        """As STATS lists it; times in nanoseconds."""
        total = round(self.seconds * 1e9)
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": total,
            "average_processing_time": total // self.requests if self.requests else 0,
        }


class MicroService:
    """Answers discovery. It takes no requests itself."""

    def __init__(
        self,
        connection: Connection,
        *,
        name: str,
        instance: str,
        version: str,
        description: str,
        metadata: dict[str, str],
        endpoints: list[Endpoint],
    ) -> None:
        self._connection = connection
        self._identity = {"name": name, "id": instance, "version": version, "metadata": metadata}
        self._description = description
        self._endpoints = endpoints
        self._started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        """Be seen."""
        name, instance = self._identity["name"], self._identity["id"]
        answers = {"PING": self._ping, "INFO": self._info, "STATS": self._stats}
        for verb, answer in answers.items():
            for suffix in ("", f".{name}", f".{name}.{instance}"):
                self._subscriptions.append(
                    self._connection.subscribe(f"$SRV.{verb}{suffix}", self._answering(answer))
                )

    def stop(self) -> None:
        """Be seen no more."""
        for subscription in self._subscriptions:
            subscription.unsubscribe()
        self._subscriptions.clear()

    def _answering(self, answer: Any) -> Any:
        def heard(message: Incoming) -> None:
            if not message.reply:
                return
            try:
                self._connection.publish(message.reply, msgspec.json.encode(answer()))
            except NatsError:
                return  # whoever asked asks again

        return heard

    def _ping(self) -> dict[str, Any]:
        return {"type": f"{_TYPE}.ping_response", **self._identity}

    def _info(self) -> dict[str, Any]:
        return {
            "type": f"{_TYPE}.info_response",
            **self._identity,
            "description": self._description,
            "endpoints": [each.info() for each in self._endpoints],
        }

    def _stats(self) -> dict[str, Any]:
        return {
            "type": f"{_TYPE}.stats_response",
            **self._identity,
            "started": self._started,
            "endpoints": [each.stats() for each in self._endpoints],
        }
