"""BUILD.md's recipe for a search space of one's own, outside the package.

Two layers, each one of three operations. What stands between the first line of
`OPS` and the tests is the recipe's code.
"""

import dataclasses
import json
import pathlib
import re
import tempfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.nn import image_ops, ops
from enas_jax.search import loop, search
from enas_jax.spaces import base as network_lib
from enas_jax.spaces import decisions, records, registry
from enas_jax.tasks import image_classifier
from tests import tiny

ROOT = pathlib.Path(__file__).resolve().parent.parent

OPS, LAYERS = ("dense", "blur", "identity"), 2


class ToyArc(NamedTuple):
  ops: Any  # [2] int32, or a tuple of Python ints


@dataclasses.dataclass(frozen=True)
class ToySpace:
  def decisions(self):
    return tuple(decisions.Decision("op", i, len(OPS)) for i in range(LAYERS))

  def from_choices(self, choices):
    return ToyArc(choices)

  def to_choices(self, arc):
    return jnp.asarray(arc.ops, jnp.int32)

  def sample_uniform(self, key, num_arcs):
    return ToyArc(jax.random.randint(key, (num_arcs, LAYERS), 0, len(OPS)))

  def validate(self, arc):
    row = records.int_row("ops", arc.ops, LAYERS, "(ToySpace).")
    if not all(0 <= op < len(OPS) for op in row):
      raise types.InputError(f"operations must be in [0, 3), got {row}.")
    return ToyArc(row)

  def to_dict(self, arc):
    return {"space": "toy", "ops": [OPS[op] for op in self.validate(arc).ops]}

  def from_dict(self, record):
    return self.validate(ToyArc(records.op_indices("ops", record["ops"], OPS)))


@dataclasses.dataclass(frozen=True)
class ToyConfig:
  num_filters: int

  def space(self):
    return ToySpace()


def init(key, config, num_classes, shape):
  f, c = config.num_filters, shape[-1]
  sizes = {"stem": (c, f), "out": (f, num_classes)}
  sizes |= {f"dense_{i}": (f, f) for i in range(LAYERS)}
  keys = jax.random.split(key, len(sizes))
  return {
    name: image_ops.he_normal(k, size, fan_in=size[0])
    for k, (name, size) in zip(keys, sizes.items(), strict=True)
  }


def apply_child(
  child, statistics, arc, images, *, config, train, key=None, progress=None
):
  x = image_ops.pointwise_conv(images, child["stem"])
  for i in range(LAYERS):
    dense = child.get(f"dense_{i}")
    branches = [
      lambda x, w: jax.nn.relu(image_ops.pointwise_conv(x, w)),
      lambda x, w: image_ops.avg_pool(x),
      lambda x, w: x,
    ]
    x = ops.switch(arc.ops[i], branches, x, dense)
  logits = image_ops.global_average_pool(x) @ child["out"]
  return network_lib.Logits(logits), statistics


def child_params(omega, arc, config):
  if not isinstance(arc.ops, tuple):
    return omega  # traced: which weights it needs is not known yet
  unused = {f"dense_{i}" for i, op in enumerate(arc.ops) if op != 0}
  return {name: w for name, w in omega.items() if name not in unused}


NETWORK = network_lib.ImageNetwork(
  init=init,
  init_statistics=lambda config: {},
  child_params=child_params,
  apply_child=apply_child,
  penalised=lambda child, config: child,
)


def find_cell(data, workdir, **run):
  config = registry.preset("smoke", "micro")
  config = dataclasses.replace(config, child=ToyConfig(num_filters=4))
  config = config_lib.override(config, "run", **run)
  config = config_lib.override(config, "omega", steps=4)
  config = config_lib.override(config, "theta", steps=3)
  config = config_lib.override(
    config, "data", batch_size=8, reward_batch_size=8
  )
  task = image_classifier.ImageClassifier.of(config, NETWORK, data)
  splits = loop.Splits(
    train=task.prepare(data.train_images, data.train_labels, "train"),
    valid=task.prepare(data.valid_images, data.valid_labels, "valid"),
    test=task.prepare(data.test_images, data.test_labels, "test"),
  )
  return search.Search(config, task, splits, workdir).run()


class OwnSpaceTest(absltest.TestCase):
  def test_a_search(self):
    with tempfile.TemporaryDirectory() as folder:
      workdir = pathlib.Path(folder)
      result = find_cell(
        tiny.make_images(),
        workdir,
        num_epochs=2,
        eval_arcs=1,
        derive_arcs=3,
        tune_arcs=3,
        tune_changes={"num_filters": 6, "batch_size": 10},
        tune_steps=7,  # of 4 to an epoch
      )
      saved = json.loads((workdir / "result.json").read_text())
      rows = (workdir / "arcs.jsonl").read_text().splitlines()
    self.assertEqual(saved["arc"], ToySpace().to_dict(result.arc))
    self.assertEqual(ToySpace().from_dict(saved["arc"]), result.arc)
    self.assertEqual((saved["omega_steps"], saved["theta_steps"]), (8, 6))
    # Each different candidate was trained from scratch, with more filters.
    tuned = [row for row in map(json.loads, rows) if "tuned_nats" in row]
    self.assertLen(tuned, saved["tuned"])
    best = min(tuned, key=lambda row: row["tuned_nats"])
    self.assertEqual(saved["arc"], best["arc"])
    self.assertEqual(saved["tuned_valid_accuracy"], best["tuned_accuracy"])

  def test_fixed_is_traced(self):
    config, shape = ToyConfig(num_filters=4), (8, 8, 2)
    omega = init(jax.random.key(0), config, 3, shape)
    images = jax.random.normal(jax.random.key(1), (2, *shape))

    def logits(arc):
      child = child_params(omega, arc, config)
      found, _ = apply_child(child, {}, arc, images, config=config, train=True)
      return found.main

    traced = jax.jit(logits)
    for ops_of in ((0, 1), (2, 0), (1, 2)):
      arc = ToySpace().validate(ToyArc(ops_of))
      np.testing.assert_allclose(
        logits(arc), traced(decisions.as_arrays(arc)), rtol=1e-4, atol=1e-5
      )

  def test_the_recipes_code_is_this(self):
    """Every line of BUILD.md's code stands in this file."""
    text = (ROOT / "BUILD.md").read_text()
    section = text.split("## Bring your own search space")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    own = pathlib.Path(__file__).read_text()
    for block in blocks:
      self.assertIn(block.strip(), own)
    self.assertNotEmpty(blocks)


if __name__ == "__main__":
  absltest.main()
