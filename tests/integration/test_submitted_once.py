"""A step that is run again after its worker died takes the children that it had submitted, and submits the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def chain(in_project: Path) -> Any:
    """A work chain at work whose ``submit`` makes a child with a checkpoint, as AiiDA's does."""
    from aiida import orm
    from aiida.common import AttributeDict
    from aiida.common.links import LinkType

    from vibraloom.workflows.submission import SubmitsOnce
    from vibraloom.workflows.training import TrainingWorkChain

    class Submits:
        def __init__(self) -> None:
            self.node, self.ctx, self.said = orm.WorkChainNode().store(), AttributeDict(), []
            self.process, self.checkpoint = TrainingWorkChain, "where it stands"

        def report(self, text: str) -> None:
            self.said.append(text)

        def submit(self, process: Any, inputs: dict[str, Any]) -> Any:
            child = orm.WorkChainNode(process_type=process.build_process_type())
            child.base.links.add_incoming(self.node, LinkType.CALL_WORK, inputs["metadata"]["call_link_label"])
            child.store()
            child.set_checkpoint(self.checkpoint)
            return child

    class Chain(SubmitsOnce, Submits):
        pass

    return Chain()


def submitted(chain: Any, label: str) -> Any:
    return chain.submit(chain.process, metadata={"call_link_label": label})


def test_a_step_that_is_run_again_takes_what_it_had_submitted(chain: Any) -> None:
    first = submitted(chain, "frame_0")
    assert submitted(chain, "frame_0").uuid == first.uuid and "frame_0" in chain.said[0]
    assert submitted(chain, "frame_1").uuid != first.uuid


def test_a_child_that_the_context_holds_is_of_another_step(chain: Any) -> None:
    first = submitted(chain, "round")
    chain.ctx.children = [first]
    assert submitted(chain, "round").uuid != first.uuid and chain.said == []


def test_a_child_that_nobody_can_drive_is_passed_over(chain: Any) -> None:
    from plumpy import ProcessState

    chain.checkpoint = None
    lost = submitted(chain, "train")
    again = submitted(chain, "train")
    assert again.uuid != lost.uuid
    again.set_process_state(ProcessState.FINISHED)  # it ended between the two: its result is there
    assert submitted(chain, "train").uuid == again.uuid
