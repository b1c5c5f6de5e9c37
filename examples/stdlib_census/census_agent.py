"""The agent of the census: says a paragraph about a package, word by word."""

from __future__ import annotations

from census_models import PackageMetrics
from census_summary import report_on, summary_words

from penguiflow.context import Context
from penguiflow.endpoints import ROOKERY
from penguiflow.types import Message


async def summarise(message: Message, ctx: Context) -> Message:
    """The figures of a package in; figures and words out, the words also live as they come."""
    metrics = PackageMetrics.model_validate(message.payload)
    for word in summary_words(metrics):
        await ctx.emit_chunk(parent=message, text=word, to=ROOKERY)
    await ctx.emit_chunk(parent=message, text="", done=True, to=ROOKERY)
    return message.model_copy(update={"payload": report_on(metrics)})
