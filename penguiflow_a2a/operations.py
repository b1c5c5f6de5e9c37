"""What all operations have in common: required fields, and errors that give nothing away."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from a2a.utils.errors import A2AError, InternalError
from a2a.utils.proto_utils import validate_proto_required_fields

logger = logging.getLogger("penguiflow.a2a")
Method = TypeVar("Method", bound=Callable[..., Any])


def _failed(name: str, error: Exception) -> InternalError:
    """What the caller is told of an error that is not the protocol's; the log has the rest."""
    logger.error("%s failed: %r", name, error, exc_info=error)
    return InternalError("the server could not answer; trying again later may help")


def unary(method: Method) -> Method:
    """An operation with one answer. Raises A2AError only."""

    @functools.wraps(method)
    async def operation(self: Any, params: Any, context: Any) -> Any:
        validate_proto_required_fields(params)
        try:
            return await method(self, params, context)
        except A2AError:
            raise
        except Exception as error:
            raise _failed(method.__name__, error) from error

    return cast("Method", operation)


def streaming(method: Method) -> Method:
    """An operation with many answers. Raises A2AError only."""

    @functools.wraps(method)
    async def operation(self: Any, params: Any, context: Any) -> AsyncGenerator[Any, None]:
        validate_proto_required_fields(params)
        try:
            async with aclosing(method(self, params, context)) as answers:
                async for answer in answers:
                    yield answer
        except A2AError:
            raise
        except Exception as error:
            raise _failed(method.__name__, error) from error

    return cast("Method", operation)
