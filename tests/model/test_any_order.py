"""Any operations in any order: the key space is what the model says, each answer too, and every task is in one place.

    LONGSHORE_MODEL_EXAMPLES=5000 pytest tests/model

looks for longer than the usual few hundred runs; a failure prints the shortest run that shows it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from longshore.testing import RedisServer
from model.machine import Machine

_EXAMPLES = int(os.environ.get("LONGSHORE_MODEL_EXAMPLES", "150"))


@pytest.mark.timeout(60 + _EXAMPLES * 5)
def test_the_key_space_is_the_models_whatever_happens_in_whatever_order() -> None:
    with RedisServer() as server:

        class OnThisRedis(Machine):
            url = server.url

        run_state_machine_as_test(
            OnThisRedis,
            settings=settings(
                max_examples=_EXAMPLES,
                stateful_step_count=50,
                deadline=None,  # the machine may be busy
                database=None,  # a failure is printed; a directory of examples in the checkout serves nobody
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            ),
        )
