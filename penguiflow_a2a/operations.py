"""What all operations have in common: required fields, and errors that give nothing away."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

from a2a.utils.errors import A2AError, InternalError
from a2a.utils.proto_utils import validate_proto_required_fields
from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.message import Message as ProtoMessage

from penguiflow_a2a.observing import observed, operation_name

_PACKAGE = "lf.a2a.v1"
logger = logging.getLogger("penguiflow.a2a")
Method = TypeVar("Method", bound=Callable[..., Any])


@functools.cache
def _required(descriptor: Any) -> tuple[str, ...]:
    """Names of the fields that a message must have."""
    return tuple(
        field.name
        for field in descriptor.fields
        if FieldBehavior.REQUIRED in field.GetOptions().Extensions[field_behavior]
    )


def _is_complete(message: Any) -> bool:
    found = {field.name: value for field, value in message.ListFields()}
    if any(name not in found for name in _required(message.DESCRIPTOR)):
        return False
    for value in found.values():
        values = value if isinstance(value, Sequence) else (value,)
        for each in values:
            if not isinstance(each, ProtoMessage):
                break
            if each.DESCRIPTOR.file.package == _PACKAGE and not _is_complete(each):
                return False
    return True


def check_required(params: Any) -> None:
    """Whether all required fields are there; the SDK says which are not. Raises
    `InvalidParamsError`."""
    if not _is_complete(params):
        validate_proto_required_fields(params)


def _failed(name: str, error: Exception) -> InternalError:
    """What the caller is told of an error that is not the protocol's; the log has the rest."""
    logger.error("%s failed: %r", name, error, exc_info=error)
    return InternalError("the server could not answer; trying again later may help")


def unary(method: Method) -> Method:
    """An operation with one answer. Raises A2AError only."""

    name = operation_name(method.__name__)

    @functools.wraps(method)
    async def operation(self: Any, params: Any, context: Any) -> Any:
        with observed(self.probe, name, context, streaming=False):
            check_required(params)
            try:
                return await method(self, params, context)
            except A2AError:
                raise
            except Exception as error:
                raise _failed(method.__name__, error) from error

    return cast("Method", operation)


def streaming(method: Method) -> Method:
    """An operation with many answers. Raises A2AError only."""

    name = operation_name(method.__name__)

    @functools.wraps(method)
    async def operation(self: Any, params: Any, context: Any) -> AsyncGenerator[Any, None]:
        with observed(self.probe, name, context, streaming=True):
            check_required(params)
            try:
                async with aclosing(method(self, params, context)) as answers:
                    async for answer in answers:
                        yield answer
            except A2AError:
                raise
            except Exception as error:
                raise _failed(method.__name__, error) from error

    return cast("Method", operation)
