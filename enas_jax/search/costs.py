"""What architectures cost, and rewards that a high cost makes smaller.

The reward is multiplied by (cost / target)^weight, weight < 0 (MnasNet, Tan et
al., 2019, Eqn 2). A theta step asks for it while it is traced, of architectures
that it has just drawn. So a cost is a linear function of what the space says
that it depends on (`Definition.features`), found before the search from sampled
architectures, and closed over: a table of what each choice costs, as FBNet (Wu
et al., 2019) has for latency. Parameters and multiply-adds are such functions
in the spaces of the package; latency is one only nearly. How nearly is measured
and told. The table lies in the run's folder: a run that is resumed, perhaps on
another device, goes on with the same.
"""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.search import evaluate, folder, hosts
from enas_jax.search import state as state_lib
from enas_jax.spaces import decisions, describe
from enas_jax.spaces import registry as spaces
from enas_jax.strategies import uniform
from enas_jax.tasks import base as tasks

LATENCY = "latency"
_HELD_OUT = 16  # architectures that the table is tried on
_FEW = 8  # that show whether costs differ at all
_ROUNDS = 5  # timings of an architecture, of which the median counts
_LEAST = 1e-3  # of the target: a table of measured times may go below 0


@dataclasses.dataclass(frozen=True)
class Costs:
  """The cost of architectures, and what it does to rewards.

  Attributes:
    column: what `arcs.jsonl` calls the cost, with its unit.
    target: the cost at which a reward stays as it is.
    weight: the exponent of cost / target, below 0.
    base: the part of the cost that every architecture has.
    slopes: [F], what each feature adds.
    error: the root of the mean squared error on architectures that the table
      was not made from, over their mean cost.
    features: (arc of arrays [...]) -> [F] float32.
  """

  column: str
  target: float
  weight: float
  base: float
  slopes: tuple[float, ...]
  error: float
  features: Callable[[types.Arc], types.Array]

  def of(self, arc: types.Arc) -> types.Array:
    """The cost of an architecture of arrays [...], [] float32; traced."""
    slopes = jnp.asarray(self.slopes, jnp.float32)
    # A TPU's default precision would leave three digits of a cost.
    cost = self.base + jnp.dot(
      self.features(arc), slopes, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.maximum(cost, _LEAST * self.target)

  def factor(self, arc: types.Arc) -> types.Array:
    """By what an architecture's cost multiplies its reward, [] float32."""
    return (self.of(arc) / self.target) ** self.weight

  def handicap(self, cost: float) -> float:
    """What a cost adds to a cross-entropy, nats.

    A likelihood exp(-nats) that is traded off so is that of `nats + handicap`.
    """
    return -self.weight * math.log(cost / self.target)


def check(config: config_lib.SearchConfig, task: tasks.Task) -> None:
  """Refuses a cost that all architectures share.

  Raises:
    InputError: if a few sampled ones do not differ in it, or it is a latency
      and the run has several processes.
  """
  name = config.run.cost
  if name == LATENCY and hosts.count() > 1:
    raise types.InputError(
      "--cost=latency is measured by one process; this run has several."
    )
  if not name or name == LATENCY:
    return
  # Which they are decides nothing.
  sampled = _sample(task, jax.random.key(state_lib.COST_KEYS), _FEW)
  sizes = _sizes(name, config, task, sampled)
  if len(set(sizes)) == 1:
    raise types.InputError(
      f"every architecture of the {task.space.name} space has the same {name},"
      f" {sizes[0]:,}; give --cost={LATENCY}, or none."
    )


def find(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  valid: tasks.Split,
  state: state_lib.SearchState,
  path: pathlib.Path,
  tell: Callable[[str], None],
) -> Costs | None:
  """Reads a run's table of costs, or makes and writes it.

  Args:
    config: the search's configuration.
    task: the task.
    valid: the validation data, on which latency is measured.
    state: the search's state; its weights are of any epoch.
    path: the file, which `read` reads.
    tell: a function called with a line for people.

  Returns:
    The costs; None if the configuration names none.
  """
  if not config.run.cost:
    return None

  def record() -> dict[str, Any]:
    if path.exists():
      return _read(config, path)
    return _make(config, task, valid, state, path, tell)

  return _of_record(config, hosts.from_first(record))


def _make(
  config: config_lib.SearchConfig,
  task: tasks.Task,
  valid: tasks.Split,
  state: state_lib.SearchState,
  path: pathlib.Path,
  tell: Callable[[str], None],
) -> dict[str, Any]:
  """Makes and writes the table; arguments as `find`."""
  name = config.run.cost
  key = jax.random.fold_in(state.key, state_lib.COST_KEYS)
  features = _features(config)
  one = decisions.nth(_sample(task, key, 1), 0)
  # Some two for each number that is fitted, beside those that are held out.
  count = 2 * features(one).shape[0] + 2 * _HELD_OUT
  tell(f"finding the {name} of {count} architectures")
  arcs = _sample(task, key, count)
  if name == LATENCY:
    measured = _latencies(task, arcs, valid, state)
  else:
    measured = np.asarray(_sizes(name, config, task, arcs), np.float64)
  table = np.asarray(evaluate.make_each(features)(arcs), np.float64)
  record = _fitted(table, measured)
  record |= {"cost": name, "target": config.run.cost_target or measured.mean()}
  folder.write_json(path, record)
  tell(
    f"{column(name)}: {measured.min():.6g} to {measured.max():.6g}, target"
    f" {record['target']:.6g}; the table is right within"
    f" {100 * record['error']:.2g}%"
  )
  return record


def read(config: config_lib.SearchConfig, path: pathlib.Path) -> Costs:
  """Reads the table of a run.

  Raises:
    InputError: if it cannot be read, or is of another cost.
  """
  return _of_record(config, _read(config, path))


def _read(
  config: config_lib.SearchConfig, path: pathlib.Path
) -> dict[str, Any]:
  """The record in a file, checked; see `read`."""
  advice = "delete it and resume the run, which then finds the costs again"
  record = folder.read_json(path, advice)
  folder.check_numbers(record, ("target", "base", "error"), path, advice)
  slopes = record.get("slopes")
  sound = isinstance(slopes, list) and all(
    isinstance(value, int | float) and not isinstance(value, bool)
    for value in slopes
  )
  numbers = (record.get(name) for name in ("target", "base", "error"))
  of_it = record.get("cost") == config.run.cost
  if not (sound and of_it and None not in numbers and record["target"] > 0):
    raise types.InputError(
      f"{path} is no table of the cost {config.run.cost!r}; {advice}."
    )
  return record


def column(name: str) -> str:
  """What a cost is called in `arcs.jsonl`, with its unit if it has one."""
  return f"{name}_ms" if name == LATENCY else name


def _of_record(
  config: config_lib.SearchConfig, record: Mapping[str, Any]
) -> Costs:
  return Costs(
    column=column(config.run.cost),
    target=float(config.run.cost_target or record["target"]),
    weight=config.run.cost_weight,
    base=float(record["base"]),
    slopes=tuple(map(float, record["slopes"])),
    error=float(record["error"]),
    features=_features(config),
  )


def _features(
  config: config_lib.SearchConfig,
) -> Callable[[types.Arc], types.Array]:
  """What costs are a linear function of: (arc of arrays [...]) -> [F]."""
  options = config.child
  of_space = spaces.of_options(options).features
  if of_space is None:
    return lambda arc: decisions.one_hot(options.space(), arc)
  return lambda arc: of_space(options, arc)


def _sample(task: tasks.Task, key: types.PRNGKey, count: int) -> types.Arc:
  propose = evaluate.make_propose(uniform.Uniform(task.space))
  return propose((), key, count)


def _sizes(
  name: str,
  config: config_lib.SearchConfig,
  task: tasks.Task,
  arcs: types.Arc,
) -> list[int]:
  """What of the size of a child is live, of arcs with leaves [S, ...]."""
  definition = spaces.of_options(config.child)
  known: dict[types.Arc, int] = {}
  sizes = []
  for index in range(jax.tree.leaves(arcs)[0].shape[0]):
    arc = task.space.validate(jax.device_get(decisions.nth(arcs, index)))
    live = definition.live(config.child, arc)
    if live not in known:
      record = describe.describe(
        definition.name, config.child, live, task.data_shape
      )
      known[live] = int(record[name])
    sizes.append(known[live])
  return sizes


def _latencies(
  task: tasks.Task,
  arcs: types.Arc,
  valid: tasks.Split,
  state: state_lib.SearchState,
) -> np.ndarray:
  """[S] float64, milliseconds of a forward pass over one validation batch.

  That of the compiled program that serves every architecture and runs the
  operations of one: to compile each alone would take hours.
  """
  chunk = evaluate.make_chunk(task)
  carry = task.start_split(state.carry)

  def seconds(arc: types.Arc) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(chunk(state.omega, arc, valid, jnp.int32(0), carry))
    return time.perf_counter() - begin

  one_by_one = [
    decisions.nth(arcs, index)
    for index in range(jax.tree.leaves(arcs)[0].shape[0])
  ]
  seconds(one_by_one[0])  # compiles
  # Round after round, so that whatever slows the machine down for a while
  # slows no architecture more than the others.
  rounds = [[seconds(arc) for arc in one_by_one] for _ in range(_ROUNDS)]
  return 1000 * np.median(np.asarray(rounds), axis=0)


def _fitted(features: np.ndarray, costs: np.ndarray) -> dict[str, Any]:
  """The linear function nearest to costs, by least squares.

  Args:
    features: [S, F] float64.
    costs: [S] float64, of which the last are held out.

  Returns:
    "base"; "slopes", [F]; "error", see `Costs`.
  """
  table = np.concatenate([features, np.ones((len(features), 1))], axis=1)
  # One-hot columns add up to that of ones: of many solutions `lstsq` takes the
  # smallest.
  weights, *_ = np.linalg.lstsq(table[:-_HELD_OUT], costs[:-_HELD_OUT])
  missed = table[-_HELD_OUT:] @ weights - costs[-_HELD_OUT:]
  error = math.sqrt(np.mean(missed**2)) / np.mean(costs[-_HELD_OUT:])
  return {
    "base": float(weights[-1]),
    "slopes": weights[:-1].tolist(),
    "error": float(error),
  }
