"""What several devices compute, beside one: run by `search_devices_test`.

  python -m tests.many_devices recurrent:8 macro:4
  python -m tests.many_devices candidates recurrent:2,4

After the word `candidates` it compares scores, rewards and candidates trained
alone instead of omega steps. It forces eight devices of the CPU, and must be a
process of its own: JAX counts the devices when it starts. For every space and
number of devices it prints one line of JSON.
"""

import json
import os
import pathlib
import re
import sys
import tempfile

os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from enas_jax.analysis import no_sharing  # noqa: E402
from enas_jax.nn import image_ops  # noqa: E402
from enas_jax.search import devices as devices_lib  # noqa: E402
from enas_jax.search import evaluate, steps, tune  # noqa: E402
from enas_jax.search import judge as judge_lib
from enas_jax.search import state as state_lib  # noqa: E402
from enas_jax.spaces import decisions
from enas_jax.strategies import registry  # noqa: E402
from tests import tiny  # noqa: E402

# Plain gradient descent, so that a step tells its gradient; dropout is on.
_PLAIN = {"learning_rate": 1.0, "momentum": 0.0, "clip_norm": 0.0}
_CHILD = {
  "macro": {"drop_features": 0.2, "moving_statistics": True},
  "micro": {"drop_path": 0.3, "aux_weight": 0.4},
  "nasbench201": {},
}


def make(space, num_arcs=1, run=None, **data):
  omega = {**_PLAIN, "num_arcs": num_arcs}
  if space == "recurrent":
    drop = {"drop_state": 0.3, "drop_word": 0.2, "drop_output": 0.2}
    config = tiny.make_config(
      omega=omega, child=drop, data={"batch_size": 8, **data}, run=run or {}
    )
    corpus = tiny.write_corpus(pathlib.Path(tempfile.mkdtemp()))
    return config, *tiny.make_task(config, corpus)
  child = {**tiny.IMAGE_FLAGS[space], **_CHILD[space]}
  config = tiny.make_image_config(
    space, omega=omega, child=child, data=data, run=run or {}
  )
  return config, *tiny.make_image_task(config, space)


def start(config, task, splits, devices):
  strategy = registry.create(config, task.space)
  state = state_lib.init_state(config, task, strategy, 6)
  return devices.put(state), devices.put(splits)


def take_steps(space, num_arcs, devices, arcs, others, **data):
  """The first step's gradient, and what was compiled for it.

  The same program takes a second step on other architectures.
  """
  config, task, splits = make(space, num_arcs, **data)
  state, splits = start(config, task, splits, devices)
  step = jax.jit(steps.make_arcs_step(config, task, 6, devices))
  compiled = step.lower(state, splits.train, devices.put(arcs)).compile()
  after, measured = compiled(state, splits.train, devices.put(arcs))
  grads = jax.tree.map(
    lambda a, b: np.asarray(a) - np.asarray(b), state.omega, after.omega
  )
  later, _ = compiled(after, splits.train, devices.put(others))
  text = compiled.as_text()
  return grads, measured, after.carry, {
    "steps": int(later.omega_step),
    "conditionals": len(re.findall(r" conditional\(", text)),
    "sums": len(re.findall(r" all-reduce(?:-start)?\(", text)),
  }  # fmt: skip


def make_reference(space):
  """(arc, num_arcs, index) -> loss, carry and gradient on one device."""
  config, task, splits = make(space)
  state, splits = start(config, task, splits, devices_lib.ONE)
  key_batch, key_loss = jax.random.split(
    state_lib.step_key(state, state_lib.OMEGA_KEYS, state.omega_step)
  )
  batch = task.train_batch(
    splits.train, state.carry, state.omega_step, key_batch
  )

  @jax.jit
  def run(omega, arc, batch, carry, key):
    def loss(omega):
      return task.loss(task.child_params(omega, arc), arc, batch, carry, key)

    (value, (_, carry)), grads = jax.value_and_grad(loss, has_aux=True)(omega)
    return value, carry, grads

  def reference(arc, num_arcs=1, index=0):
    key = key_loss
    if num_arcs > 1:
      key = jax.random.split(key_loss, num_arcs)[index]
    return run(state.omega, arc, batch, state.carry, key)

  def of_parts(arc, count):
    """The mean gradient over parts of the batch, each a batch of its own."""
    parts = []
    for index, key in enumerate(jax.random.split(key_loss, count)):
      part = jax.tree.map(lambda x, i=index: jnp.split(x, count)[i], batch)
      parts.append(run(state.omega, arc, part, state.carry, key)[1:])
    return jax.tree.map(lambda *p: np.mean(np.stack(p), axis=0), *parts)

  return task, reference, of_parts


def gap(found, expected):
  """The largest difference of two pytrees."""
  pairs = zip(*map(jax.tree.leaves, (found, expected)), strict=True)
  return max(
    float(np.max(np.abs(np.asarray(a, float) - np.asarray(b, float))))
    for a, b in pairs
    if np.size(a)
  )


def compare(space, counts):
  task, reference, of_parts = make_reference(space)
  for count in counts:
    devices = devices_lib.of(count)
    num_arcs = max(count, 4)
    arcs = task.space.sample_uniform(jax.random.key(7), num_arcs)
    one = decisions.nth(arcs, 0)
    loss, carry, expected = reference(one)
    grads, measured, moved, of_batch = take_steps(
      space, 1, devices, one, decisions.nth(arcs, 1)
    )
    row = {
      "space": space,
      "devices": count,
      "size": max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(grads)),
      "loss": abs(float(loss) - float(measured["loss"])),
      "batch_gap": gap(grads, expected),
      "carry_gap": gap(moved, carry),
      "of_batch": of_batch,
    }
    if space == "macro":
      grads, _, moved, _ = take_steps(
        space, 1, devices, one, one, batch_norm_over="part"
      )
      carry, mean = of_parts(one, count)
      row["part_gap"] = max(gap(grads, mean), gap(moved, carry))
      row["part_matters"] = gap(mean, expected)
    each = [
      reference(decisions.nth(arcs, i), num_arcs, i)[2] for i in range(num_arcs)
    ]
    mean = jax.tree.map(lambda *g: np.mean(np.stack(g), axis=0), *each)
    grads, _, _, of_arcs = take_steps(
      space, num_arcs, devices, arcs, jax.tree.map(lambda x: x[::-1], arcs)
    )
    print(
      json.dumps(row | {"arcs_gap": gap(grads, mean), "of_arcs": of_arcs}),
      flush=True,
    )


def judge_candidates(config, task, splits, devices, arcs):
  """What is said of five architectures, and the polls of signals meanwhile."""
  state, splits = start(config, task, splits, devices)
  key, polls = jax.random.key(3), []
  scores = evaluate.make_score(task, devices)(
    state, arcs, splits.valid, key, num_batches=2
  )

  @jax.jit
  def earn(state, valid, arcs, keys):
    judge = judge_lib.Judge(task, state, valid, (), devices)
    return judge.rewards(arcs, keys)

  four = jax.tree.map(lambda leaf: leaf[:4], arcs)
  rewards = earn(state, splits.valid, four, jax.random.split(key, 4))
  known = [
    task.space.validate(jax.device_get(decisions.nth(arcs, place)))
    for place in range(5)
  ]
  alone = config, task, splits.train, splits.valid
  serve = lambda: polls.append(None)
  tuned = tune.tune_best(
    alone, state, known, lambda arc: arc, serve, lambda one: None, {}, devices
  )
  trained = tune.make_tune_all(*alone[:3], lambda: None, 2, devices)
  weights = [jax.device_get(one.omega) for one in trained(state, known)]
  trainer = no_sharing.Trainer(config, task, splits, lambda: 0, devices)
  reached = [
    (one.reward, one.valid, one.test) for one in trainer(known, first=0)
  ]
  return {
    "scores": np.asarray(scores),
    "rewards": np.asarray(rewards),
    "order": [(one.rank, one.steps) for one in tuned],
    "tuned": np.asarray([(one.nats, one.valid) for one in tuned]),
    "weights": weights,
    "reached": np.asarray(reached),
    "polls": len(polls),
  }


def compare_candidates(space, counts):
  """Scores, rewards and trainings alone of n devices, beside those of one.

  The better three of five candidates go on to a second round, whose steps cross
  the end of an epoch.
  """
  run = {
    **{"tune_arcs": 5, "tune_steps": 8, "tune_halvings": 1},
    **{"tune_changes": (), "tune_from": "shared"},
  }
  config, task, splits = make(space, run=run)
  arcs = task.space.sample_uniform(jax.random.key(7), 5)
  one, *others = (
    judge_candidates(config, task, splits, devices_lib.of(count), arcs)
    for count in (1, *counts)
  )
  for count, several in zip(counts, others, strict=True):
    row = {
      f"{name}_gap": gap(several[name], one[name])
      for name in ("scores", "rewards", "tuned", "weights", "reached")
    }
    row |= {
      "spread": float(np.ptp(one["scores"])),
      "order": several["order"],
      "expected_order": one["order"],
      "polls": [one["polls"], several["polls"]],
    }
    print(json.dumps({"space": space, "devices": count} | row), flush=True)


if __name__ == "__main__":
  with image_ops.using("plain"):
    run = compare
    for argument in sys.argv[1:]:
      if argument == "candidates":
        run = compare_candidates
        continue
      name, _, numbers = argument.partition(":")
      run(name, [int(number) for number in numbers.split(",")])
