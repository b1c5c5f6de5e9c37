"""ListTasks: its query and its answer. Pure."""

from __future__ import annotations

from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, TaskState
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import apply_history_length

from penguiflow.serving.models import TaskPage, TaskQuery
from penguiflow_a2a.config import A2AConfig
from penguiflow_a2a.picture import STATES, TaskPicture

_STATES = {of_protocol: state for state, of_protocol in STATES.items()}
_PAGE = 50


def query_of(params: ListTasksRequest, config: A2AConfig) -> TaskQuery:
    """What is asked for. Raises `InvalidParamsError`."""
    size = params.page_size if params.HasField("page_size") else min(_PAGE, config.max_page)
    if not 1 <= size <= config.max_page:
        msg = f"the page size is {size}; use 1 to {config.max_page}"
        raise InvalidParamsError(msg)
    if params.status not in _STATES:
        msg = f"{params.status} is no state of a task"
        raise InvalidParamsError(msg)
    wanted = None if params.status == TaskState.TASK_STATE_UNSPECIFIED else _STATES[params.status]
    after = None
    if params.HasField("status_timestamp_after"):
        stamp = params.status_timestamp_after
        after = stamp.seconds + stamp.nanos / 1e9
    return TaskQuery(
        context_id=params.context_id or None,
        state=wanted,
        changed_after=after,
        page_size=size,
        page_token=params.page_token,
        pieces=params.include_artifacts,
    )


def page_of(
    page: TaskPage, params: ListTasksRequest, query: TaskQuery, *, failure_texts: bool
) -> ListTasksResponse:
    """A page as the protocol shows it."""
    response = ListTasksResponse(
        next_page_token=page.next_token, page_size=query.page_size, total_size=page.total
    )
    for sheet in page.sheets:
        picture = TaskPicture(sheet, failure_texts=failure_texts)
        task = picture.task(artifacts=params.include_artifacts)
        response.tasks.append(apply_history_length(task, params))
    return response
