"""The keys of a tenant's state bucket. Pure.

    ev.<trace>.<tenant>.<a>.<b>.<c>.<event>       events: written once
    pe.<trace>.<a>.<b>.<c>.<event>                planner events: written once
    tr.<trace>.<tenant>                           which traces there are
    end.<trace>.<tenant>                          a trace has ended
    rm.<trace>.<tenant>                           a trace was removed
    bi.<trace>.<tenant>.<context>.<task>          remote bindings
    bx.<session>.<agent>.<last task>.<the four tokens of the binding>   where to find them
    ps.<hash of the token>                        paused planners
    me.<key>                                      memory
    ta.<session>.<task>                           tasks
    to.<session>.<task>                           in which order they were created
    up.<session>.<task>.<a>.<b>.<c>.<update>      updates: written once
    st.<session>.<task>.<a>.<b>.<c>.<event>       steering events: written once
    tj.<session>.<trace>, ti.<session>.<trace>    trajectories, and their list
    ar.<artifact>, ao.<owner: four tokens>.<artifact>, au.<artifact>   see `artifact_keys`

Every token is `[A-Za-z0-9_-]{1,64}` or "=", which stands for None and which no text becomes.
"""

from __future__ import annotations

from penguiflow.durable.tokens import derive, token, trace_token
from penguiflow.state.event_log import trace_key
from penguiflow.state.records import RemoteBinding
from penguiflow_nats.series import series_key

NONE = "="
ANY = "*"


def bucket_name(tenant: str | None) -> str:
    """The state bucket of a tenant."""
    return f"PF_{token(tenant or 'default')}_STATE"


def object_bucket_name(tenant: str | None) -> str:
    """Where values that are too large for a message are."""
    return f"PF_{token(tenant or 'default')}_STATE_CLAIMS"


def artifact_bucket_name(tenant: str | None) -> str:
    """Where the bytes of artifacts are."""
    return f"PF_{token(tenant or 'default')}_ARTIFACTS"


def part(text: str | None) -> str:
    """The token of a name that may be None."""
    return NONE if text is None else token(text)


def part_or_any(text: str | None) -> str:
    """The same for a filter, where None matches all."""
    return ANY if text is None else token(text)


def trace_part(trace_id: str | None) -> str:
    """The token of a trace; events without one share a trace of their own."""
    return trace_token(trace_key(trace_id))


def events(trace: str, tenant: str = ANY) -> str:
    """The series of a trace's events, from the tokens of trace and tenant."""
    return f"ev.{trace}.{tenant}"


def planner_events(trace_id: str | None) -> str:
    """The series of a trace's planner events."""
    return f"pe.{trace_part(trace_id)}"


def planner_state(planner_token: str) -> str:
    """A paused planner. Whoever knows the token may resume it, so it is not shown in a key."""
    return f"ps.{derive('planner state', planner_token)}"


def memory(key: str) -> str:
    """Memory under a key of the user's choice."""
    return f"me.{token(key)}"


def session(session_id: str) -> str:
    """The token of a session."""
    return token(session_id)


def trajectory(session_id: str, trace_id: str) -> str:
    """A trajectory."""
    return f"tj.{token(session_id)}.{trace_token(trace_id)}"


def trajectory_listed(session_id: str, trace_id: str | None) -> str:
    """A trajectory in the list of its session; None is a filter for all of them."""
    trace = ANY if trace_id is None else trace_token(trace_id)
    return f"ti.{token(session_id)}.{trace}"


def updates(session_id: str, task_id: str | None = None) -> str:
    """The series of a session's updates, of one task or of all."""
    return f"up.{token(session_id)}.{part_or_any(task_id)}"


def steering(session_id: str, task_id: str | None = None) -> str:
    """The series of a session's steering events, of one task or of all."""
    return f"st.{token(session_id)}.{part_or_any(task_id)}"


def named(identity: str) -> str:
    """The last token of an entry that has an id."""
    return token(identity)


def unnamed(said: str) -> str:
    """The last token of an entry that is known by what it says. No id becomes this."""
    return NONE + said


def entry_of(series: str, last: str) -> str:
    """The key of an entry of a series, from its last token."""
    return series_key(series, last)


def binding_suffix(binding: RemoteBinding) -> str:
    """The four tokens that name a binding."""
    trace = trace_part(binding.trace_id)
    tenant, context = part(binding.tenant_id), part(binding.context_id)
    return f"{trace}.{tenant}.{context}.{token(binding.task_id)}"


def binding(suffix: str) -> str:
    """A binding."""
    return f"bi.{suffix}"


def bindings(
    *,
    trace_id: str | None = None,
    tenant_id: str | None = None,
    context: str = ANY,
    task_id: str | None = None,
) -> str:
    """A filter for bindings; None, and a context of "*", match all."""
    trace, tenant = part_or_any(trace_id), part_or_any(tenant_id)
    return f"bi.{trace}.{tenant}.{context}.{part_or_any(task_id)}"


def binding_place(each: RemoteBinding) -> str:
    """Where the conversation, the agent and the newest remote task lead to the binding."""
    session, agent = part(each.router_session_id), token(each.agent_url)
    return f"bx.{session}.{agent}.{part(each.last_remote_task_id)}.{binding_suffix(each)}"


def binding_places(
    session_id: str | None = None, agent_url: str | None = None, task_id: str | None = None
) -> str:
    """A filter for the places of a conversation, an agent or a newest remote task."""
    wanted = f"{part_or_any(session_id)}.{part_or_any(agent_url)}.{part_or_any(task_id)}"
    return f"bx.{wanted}.*.*.*.*"


def places_of(suffix: str) -> str:
    """A filter for all places of bindings with these four tokens."""
    return f"bx.*.*.*.{suffix}"


def suffix_of_place(key: str) -> str:
    """The binding that a place leads to."""
    return key.split(".", 4)[4]
