"""Which models travel into and out of each node."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter


class ModelRegistry:
    """Input and output model of each node, by node name."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {}
        self._adapters: dict[str, tuple[TypeAdapter[Any], TypeAdapter[Any]]] = {}

    def register(
        self, node_name: str, in_model: type[BaseModel], out_model: type[BaseModel]
    ) -> None:
        """Register the models of a node.

        Raises:
            ValueError: the node is registered already.
            TypeError: a model is not a pydantic `BaseModel` class.
        """
        if node_name in self._models:
            msg = f"Node '{node_name}' already registered"
            raise ValueError(msg)
        for model in (in_model, out_model):
            if not _is_model(model):
                msg = f"Models must inherit from pydantic.BaseModel; got {model!r}"
                raise TypeError(msg)
        self._models[node_name] = (in_model, out_model)
        self._adapters[node_name] = (TypeAdapter(in_model), TypeAdapter(out_model))

    def has(self, node_name: str) -> bool:
        """Whether the node is registered."""
        return node_name in self._models

    def adapters(self, node_name: str) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
        """The validators (in, out) of a node. Raises `KeyError` when it is not registered."""
        try:
            return self._adapters[node_name]
        except KeyError:
            raise self._missing(node_name) from None

    def models(self, node_name: str) -> tuple[type[BaseModel], type[BaseModel]]:
        """The models (in, out) of a node. Raises `KeyError` when it is not registered."""
        try:
            return self._models[node_name]
        except KeyError:
            raise self._missing(node_name) from None

    @staticmethod
    def _missing(node_name: str) -> KeyError:
        return KeyError(f"Node '{node_name}' not registered")


def _is_model(model: object) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


__all__ = ["ModelRegistry"]
