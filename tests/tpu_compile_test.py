"""Every step of every space, compiled for a TPU that is not there.

  pip install '.[tpu]'
  pytest -m tpu_compile

It takes minutes, most of them for convolutions, so it runs only if asked for.
"""

import importlib.util

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
  "recurrent": (16, 10, 10),
  "macro": (8, 4, 4),
  "micro": (20, 10, 10),
  "nasbench201": (36, 18, 18),
}


def compiled(program):
  found = compile_ahead.find_chips("v5e:2x2", program.devices.count)
  record = compile_ahead.compile_for(program, found, chips.CHIPS["v5e"])
  assert record["fits"]
  # A batch that is split is summed over the chips.
  assert bool(record["collectives"]) == (program.devices.count > 1)
  return record


@pytest.mark.parametrize("space", registry.names())
def test_steps_of_a_search(space):
  config = registry.preset("smoke", space)
  programs = preset_programs.of_search(config, space, 1000)
  found = {p.name: compiled(p)["conditionals"] for p in programs}
  assert found == dict(
    zip(preset_programs.NAMES, CONDITIONALS[space], strict=False)
  )


def test_an_omega_step_on_four_chips():
  mesh = devices.mesh_of(compile_ahead.find_chips("v5e:2x2", 4))
  config = registry.preset("smoke", "recurrent")
  step = next(preset_programs.of_search(config, "recurrent", 1000, mesh))
  assert compiled(step)["conditionals"] == CONDITIONALS["recurrent"][0]


@pytest.mark.parametrize("space", registry.trainable())
def test_a_fixed_architecture_has_no_conditional(space):
  config = registry.train_preset("smoke", space)
  arc = load_arc("random:0", space, config.child.space()).arc
  program = preset_programs.of_training(config, space, arc, 1000)
  assert compiled(program)["conditionals"] == 0
