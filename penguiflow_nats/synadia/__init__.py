"""The Synadia agent protocol for NATS, version 0.3, in front of an agent.

A client of that protocol discovers the agent, asks for its status and sends prompts; what it is
told is the stream of a durable task. See `docs/agents.md`.
"""

from penguiflow_nats.synadia.front import FrontOptions, SynadiaFront, answering
from penguiflow_nats.synadia.names import BadToken
from penguiflow_nats.synadia.wire import Prompt

__all__ = ["BadToken", "FrontOptions", "Prompt", "SynadiaFront", "answering"]
