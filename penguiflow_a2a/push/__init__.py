"""Push notifications: `PushSender` tells webhooks what happens to tasks."""

from penguiflow_a2a.push.sender import PushSender
from penguiflow_a2a.push.webhooks import PushLimits

__all__ = ["PushLimits", "PushSender"]
