"""Every step of every space, compiled for a TPU that is not there.

  pip install '.[tpu]'
  pytest -m tpu_compile

It takes minutes, most of them for convolutions, so it runs only if asked for.
"""

import importlib.util

import pytest

from enas_jax.analysis import chips, compile_ahead, preset_programs
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
  device = compile_ahead.find_device("v5e:2x2")
  record = compile_ahead.compile_for(program, device, chips.CHIPS["v5e"])
  assert record["fits"]
  assert record["collectives"] == 0
  return record


@pytest.mark.parametrize("space", registry.names())
def test_steps_of_a_search(space):
  config = registry.preset("smoke", space)
  programs = preset_programs.of_search(config, space, 1000)
  found = {p.name: compiled(p)["conditionals"] for p in programs}
  assert found == dict(
    zip(preset_programs.NAMES, CONDITIONALS[space], strict=False)
  )


@pytest.mark.parametrize("space", registry.trainable())
def test_a_fixed_architecture_has_no_conditional(space):
  config = registry.train_preset("smoke", space)
  arc = load_arc("random:0", space, config.child.space()).arc
  program = preset_programs.of_training(config, space, arc, 1000)
  assert compiled(program)["conditionals"] == 0
