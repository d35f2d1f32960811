"""A child of a work chain is submitted once, also where a step is run again after its worker died."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import Process


class SubmitsOnce:
    """Mixin of work chains; stands before the work chain's own base class.

    AiiDA stores where a work chain stands when a step is over. A worker that dies within one leaves children that are in the
    queue, of which the step that is run again knows nothing: it finds them here by their call link.
    """

    def submit(self, process: type[Process], inputs: dict[str, Any] | None = None, **kwargs: Any) -> orm.ProcessNode:
        """Submit a child, or take the one that this very step submitted before it was broken off."""
        given = {**(inputs or {}), **kwargs}
        label = (given.get("metadata") or {}).get("call_link_label")
        node = None if label is None else self._submitted(process, str(label))
        if node is None:
            node = super().submit(process, given)  # type: ignore[misc]
        else:
            self.report(f"{label}: {node.uuid[:8]} was submitted before this step was broken off; it is taken")  # type: ignore[attr-defined]
        return node

    def _submitted(self, process: type[Process], label: str) -> orm.ProcessNode | None:
        """The newest child under this call link that the context does not hold; one that nobody can drive is passed over."""
        known = {node.uuid for node in _nodes(self.ctx)}  # type: ignore[attr-defined]
        links = self.node.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all()  # type: ignore[attr-defined]
        # a worker that died between storing a child and its checkpoint put nothing into the queue
        children = [
            link.node
            for link in links
            if link.link_label == label
            and link.node.uuid not in known
            and link.node.process_type == process.build_process_type()
            and (link.node.is_terminated or link.node.checkpoint is not None)
        ]
        return max(children, key=lambda node: node.pk, default=None)


def _nodes(value: Any) -> Iterator[orm.Node]:
    if isinstance(value, orm.Node):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _nodes(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _nodes(one)
