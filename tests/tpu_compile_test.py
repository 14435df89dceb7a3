"""Every step of every space, compiled for a TPU that is not there.

  pip install '.[tpu]'
  JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 pytest -m tpu_compile

It takes four minutes of a core, most of them for convolutions, so it runs only
if asked for; `.ci/run` asks for two of the spaces.
"""

import importlib.util

import jax
import pytest

from enas_jax.analysis import chips, compile_ahead, preset_programs
from enas_jax.search import devices
from enas_jax.spaces import registry
from enas_jax.spaces.arcs import load_arc

pytestmark = [
  pytest.mark.tpu_compile,
  pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
  ),
]
# At the size of the preset `smoke`: omega step, theta step, evaluation.
CONDITIONALS = {
  "recurrent": (16, 11, 10),
  "macro": (9, 5, 4),
  "micro": (21, 11, 10),
  "nasbench201": (37, 19, 18),
}
# Of an omega step on four chips: most are means of a batch norm.
COLLECTIVES = {"recurrent": 9, "macro": 209, "micro": 238, "nasbench201": 277}


@pytest.fixture(autouse=True, scope="module")
def least_effort():
  """Half the time, and the same structure."""
  before = jax.config.jax_exec_time_optimization_effort
  jax.config.update("jax_exec_time_optimization_effort", -1.0)
  yield
  jax.config.update("jax_exec_time_optimization_effort", before)


def compiled(program):
  there = compile_ahead.find_chips("v5e:2x2", program.devices.count)
  record = compile_ahead.compile_for(program, there, chips.CHIPS["v5e"])
  assert record["fits"]
  return record


@pytest.mark.parametrize("space", registry.names())
def test_steps_of_a_search(space):
  config = registry.preset("smoke", space)
  steps = preset_programs.of_search(config, space, 1000)
  records = [compiled(step) for step in steps]
  assert [r["program"] for r in records] == [*preset_programs.NAMES[:3]]
  assert tuple(r["conditionals"] for r in records) == CONDITIONALS[space]
  assert not any(r["collectives"] for r in records)


@pytest.mark.parametrize("space", registry.names())
def test_an_omega_step_on_four_chips(space):
  mesh = devices.mesh_of(compile_ahead.find_chips("v5e:2x2", 4))
  config = registry.preset("smoke", space)
  step = next(preset_programs.of_search(config, space, 1000, mesh))
  record = compiled(step)
  assert record["conditionals"] == CONDITIONALS[space][0]
  assert record["collectives"] == COLLECTIVES[space]


@pytest.mark.parametrize("space", registry.trainable())
def test_a_fixed_architecture_has_the_conditional_of_overflows(space):
  config = registry.train_preset("smoke", space)
  arc = load_arc("random:0", space, config.child.space()).arc
  program = preset_programs.of_training(config, space, arc, 1000)
  assert compiled(program)["conditionals"] == 1
