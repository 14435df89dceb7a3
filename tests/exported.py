"""Small trained models to export, for tests."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from enas_jax import export
from enas_jax.export import modules
from tests import tiny

MEAN, STD = (0.3, 0.2), (0.25, 0.1)
TOKENS = {
  "recurrent": "0 0 1 1 3",
  "macro": "0 1 1",  # released numbering: conv_3x3; sep_conv_3x3 of layer 1
  "micro": "0 0 1 2  1 1 0 3",
}


def draw_statistic(rng, name, leaf):
  if name == "steps":
    return jnp.int32(5)
  low, high = {"mean": (-0.2, 0.2), "variance": (0.5, 1.5)}[name]
  return jnp.float32(rng.uniform(low, high, leaf.shape))


def make_model(space, **changes):
  """A tiny model whose weights and statistics are not those of a start."""
  key = jax.random.key(7)
  if space == "recurrent":
    # Batch norm would leave nothing of a single text.
    changed = {"init_range": 0.5, "batch_norm": False, **changes}
    config = tiny.make_config(child=changed).child
    preprocessing = export.TextPreprocessing(("<eos>", "<unk>", "a", "b", "c"))
  else:
    changed = {"moving_statistics": True, **changes}
    config = tiny.make_image_config(space, child=changed).child
    preprocessing = export.ImagePreprocessing((8, 8, 2), MEAN, STD, "abc")
  arc = config.space().from_tokens(TOKENS[space])
  module = modules.make(space, config, arc, preprocessing)
  rng = np.random.default_rng(0)
  child = jax.jit(module.draw)(key)
  statistics = traverse_util.path_aware_map(
    lambda path, leaf: draw_statistic(rng, path[-1], leaf),
    module.shapes().get("batch_stats", {}),
  )
  card = {
    "dataset": "made up",
    "command": "python -m train",
    "seed": 3,
    "metrics": {"test_accuracy": 0.5},
  }
  return export.Model(
    space, config, arc, child, statistics, preprocessing, card
  )


def module_of(model):
  return modules.make(model.space, model.config, model.arc, model.preprocessing)
