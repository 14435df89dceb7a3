"""The paper's ablations (Sections 3.1 to 3.3): what makes the found one good.

A study trains networks and returns a `Trial` for each; `ablation_summary` makes
numbers of them. The studies:

- `guided_random`: uniform architectures, trained as the reference is.
- `search_disabled`: shared weights whose controller never learns; single
  samples of it, and the vote of many.
- `local_optimum`: the reference with the changes that its space lists.
- `no_sharing`: a controller that learns from samples trained alone
  (`no_sharing`), beside random search.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from enas_jax import config as config_lib
from enas_jax import files
from enas_jax.analysis import ablation_lab
from enas_jax.analysis import no_sharing as no_sharing_lib
from enas_jax.search import derive, evaluate, loop, search, train
from enas_jax.search import folder as folder_lib
from enas_jax.search import state as state_lib
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions, perturbations
from enas_jax.strategies import registry as strategies

VOTES = "ensemble.json"  # what samples of shared weights are worth
_REFERENCE = ablation_lab.REFERENCE
# The one strategy that the paper trains, or leaves untrained.
_POLICY = "controller"
# Both names are in every signature below.
Lab = ablation_lab.Lab
Trial = ablation_lab.Trial


class Study(NamedTuple):
  """An ablation.

  Attributes:
    run: (lab, seed) -> its trials, those of the reference first.
    trains_alone: whether it needs the space's training of one architecture and
      a reference; else it needs a search's numbers.
    sizes: the fields of `Sizes` that it reads.
    perturbs: whether it needs the space's perturbations.
    baselines: the variants that each other one is compared with.
  """

  run: Callable[[Lab, int], list[Trial]]
  trains_alone: bool
  sizes: tuple[str, ...]
  perturbs: bool = False
  baselines: tuple[str, ...] = (_REFERENCE,)

  def why_not(self, definition: spaces.Definition) -> str:
    """Why a space does not admit it; "" if it does."""
    if self.trains_alone and not definition.train_presets:
      return "has no preset of the training of one architecture"
    if self.perturbs and not definition.perturbations:
      return "lists no changes of an architecture"
    return ""


def guided_random(lab: Lab, seed: int) -> list[Trial]:
  """Uniform architectures in the reference's settings (Section 3.3).

  A skip connection of a whole network is taken with the probability that the
  space's options say, 0.4 in every preset.

  Args:
    lab: what the studies share; it has a training and a reference.
    seed: the seed.
  """
  assert lab.training is not None
  trials = [lab.train_reference(seed)]
  config = config_lib.override(lab.training, "run", seed=seed)
  space = config.child.space()
  for draw in range(lab.sizes.num_draws):
    # A source of its own: the weights' key is that of the seed alone.
    rng = np.random.default_rng([seed, draw])
    key = jax.random.key(int(rng.integers(2**32)))
    arcs = jax.device_get(space.sample_uniform(key, 1))  # leaves [1, ...]
    arc = space.validate(decisions.nth(arcs, 0))
    name = f"random-{seed}-{draw}"
    trials.append(lab.train("random", name, config, arc, draw=draw))
  return trials


def local_optimum(lab: Lab, seed: int) -> list[Trial]:
  """The reference with the changes of its space (Sections 3.1 and 3.2).

  Args:
    lab: what the studies share; it has a training and a reference.
    seed: the seed.
  """
  assert lab.training is not None and lab.reference is not None
  trials = [lab.train_reference(seed)]
  config = config_lib.override(lab.training, "run", seed=seed)
  space, arc = config.child.space(), lab.reference.trained
  for variant, perturbation in lab.definition.perturbations.items():
    for draw in range(lab.sizes.num_draws if perturbation.drawn else 1):
      rng = np.random.default_rng([seed, draw])
      changed = perturbations.perturb(space, arc, perturbation, rng)
      if changed == arc:
        # Nor in another draw: chance picks among what can change.
        lab.progress.line(f"{variant}: nothing of the reference can change")
        break
      options: dict[str, Any] = {}
      if option := perturbation.same_params:
        wanted = trials[0].params  # of the reference
        value = ablation_lab.fit_option(lab, config, changed, option, wanted)
        options[option] = value
      name = f"{variant}-{seed}-{draw}"
      fitted = config_lib.override(config, "child", **options)
      trials.append(
        lab.train(variant, name, fitted, changed, draw=draw, options=options)
      )
  return trials


def search_disabled(lab: Lab, seed: int) -> list[Trial]:
  """Shared weights under an untrained controller (Section 3.3).

  The reference here is trained alone in the network and with the numbers of the
  search, for as many steps.

  Args:
    lab: what the studies share.
    seed: the seed.
  """
  config = strategies.with_policy(lab.search, _POLICY)
  config = config_lib.override_parts(
    config,
    # The controller stays as it was drawn, and no candidate is trained alone:
    # only the votes below count.
    {"theta": {"steps": 0}, "run": {"seed": seed, "tune_arcs": 0}},
  )
  trials = []
  if lab.reference is not None:
    alone = as_training(config)
    name = f"search_disabled-{_REFERENCE}-{seed}"
    trials.append(lab.train(_REFERENCE, name, alone, lab.reference.searched))
  folder = lab.open_folder(f"search_disabled-{seed}", config, None)
  path = folder / VOTES
  if not path.exists():
    lab.progress.line(f"{folder.name}: training shared weights")
    folder_lib.write_json(path, _vote(lab, config, folder))
    jax.clear_caches()
  record = _read_votes(path)
  return [*trials, *_trials_of_votes(record, seed, lab.task.metric_sign)]


def as_training(config: config_lib.SearchConfig) -> config_lib.TrainConfig:
  """The training of one architecture with the numbers of a search."""
  names = {field.name for field in dataclasses.fields(config.run)}
  shared = {
    field.name: getattr(config.run, field.name)
    for field in dataclasses.fields(config_lib.TrainRunConfig)
    if field.name in names
  }
  return config_lib.TrainConfig(
    child=config.child,
    data=config.data,
    # What chooses or weighs samples does nothing with one architecture.
    omega=dataclasses.replace(
      config.omega, num_arcs=1, fair_ops=False, op_weights=()
    ),
    # A search averages no weights.
    run=config_lib.TrainRunConfig(**shared, average_after=0),
  )


def _vote(
  lab: Lab, config: config_lib.SearchConfig, folder: pathlib.Path
) -> dict[str, Any]:
  """Trains shared weights and asks samples of the policy, JSON-ready."""
  data = lab.load(config)
  task = lab.task.create(config, lab.definition.network, data)
  splits = task.splits(data)
  run = search.Search(config, task, splits, folder, lab.progress, lab.stop)
  result = run.load_result() if run.finished else run.run()
  before, state = time.monotonic(), run.state
  # A stream of its own: these are not the candidates of the derive step.
  key = state_lib.step_key(state, state_lib.ENSEMBLE_KEYS, state.epoch)
  propose = evaluate.make_propose(strategies.create(config, task.space))
  arcs = propose(state.strategy, key, lab.sizes.ensemble)  # leaves [S, ...]

  def serve_signal() -> None:
    lab.progress.advance()
    if signum := lab.stop():
      raise loop.Interrupted(signum)

  ensemble = evaluate.make_ensemble(task, serve_signal)
  asked = {"valid": splits.valid, "test": splits.test}
  # `serve_signal` is called for each sample after each chunk.
  parts = sum(task.evaluation_chunks(split) for split in asked.values())
  lab.progress.start("votes", int(state.epoch), 0, parts * lab.sizes.ensemble)
  votes = {
    name: ensemble(state, arcs, split)._asdict()
    for name, split in asked.items()
  }
  lab.progress.finish(f"{lab.sizes.ensemble} samples")
  # Before slicing: on the device every slice would be a program.
  host = jax.device_get(arcs)
  return {
    **votes,
    "tokens": [
      task.space.to_tokens(decisions.nth(host, i))
      for i in range(lab.sizes.ensemble)
    ],
    "params": train.count_params(state.omega),
    "search_seconds": result.record["search_seconds"],
    "vote_seconds": time.monotonic() - before,
  }


def _read_votes(path: pathlib.Path) -> dict[str, Any]:
  """What `_vote` has written; raises InputError if it is damaged."""
  advice = "delete it to take the votes again"
  record = folder_lib.read_json(path, advice)
  numbers = ("params", "search_seconds", "vote_seconds")
  folder_lib.check_numbers(record, (), path, advice, numbers)
  kinds = {"valid": dict, "test": dict, "tokens": list}
  folder_lib.check_fields(record, kinds, path, advice)
  for of_split in (record["valid"], record["test"]):
    folder_lib.check_numbers(of_split, ("metric",), path, advice)
    folder_lib.check_fields(of_split, {"metrics": list}, path, advice)
    metrics = of_split["metrics"]
    sound = all(isinstance(metric, int | float | None) for metric in metrics)
    # One for each sample.
    if not (metrics and sound and len(metrics) == len(record["tokens"])):
      raise files.damaged(path, advice)
  return record


def _trials_of_votes(
  record: Mapping[str, Any], seed: int, metric_sign: int
) -> list[Trial]:
  """The mean sample, the one that is best in validation, and the vote."""
  valid, test = (
    [ablation_lab.number(metric) for metric in record[split]["metrics"]]
    for split in ("valid", "test")
  )
  # `argmax` would take NaN for the largest.
  worth = [
    metric_sign * metric if math.isfinite(metric) else -math.inf
    for metric in valid
  ]
  best = int(np.argmax(worth))
  # Section 3.3 prints both of the macro space: 8.92% error of the shared
  # weights, 5.49% of an ensemble of 250.
  sampled = Trial(
    "sampled",
    seed,
    draw=0,
    valid=derive.mean_and_error(valid)[0],
    test=derive.mean_and_error(test)[0],
    params=record["params"],
    seconds=record["search_seconds"],
  )
  return [
    sampled,
    sampled._replace(
      variant="best_sampled",
      valid=valid[best],
      test=test[best],
      tokens=record["tokens"][best],
    ),
    sampled._replace(
      variant="ensemble",
      valid=ablation_lab.number(record["valid"]["metric"]),
      test=ablation_lab.number(record["test"]["metric"]),
      seconds=record["search_seconds"] + record["vote_seconds"],
    ),
  ]


def no_sharing(lab: Lab, seed: int) -> list[Trial]:
  """Zoph & Le's search and random search, each sample trained alone.

  The reference here is trained just as briefly.

  Args:
    lab: what the studies share.
    seed: the seed.
  """
  config = strategies.with_policy(lab.search, _POLICY)
  config = config_lib.override(config, "run", seed=seed)
  data = lab.load(config)
  task = lab.task.create(config, lab.definition.network, data)
  space, count = task.space, lab.sizes.num_samples
  folder = lab.open_folder(f"no_sharing-{seed}", config, None)
  # Built when a sample is first trained: a finished search needs no weights.
  trainer = functools.cache(
    lambda: no_sharing_lib.Trainer(
      config, task, task.splits(data), lab.stop, lab.devices
    )
  )

  def ledger_of(name: str) -> no_sharing_lib.Ledger:
    def tell(number: int, sample: no_sharing_lib.Sample) -> None:
      lab.progress.line(
        f"{folder.name}, {name}: sample {number + 1}, reward"
        f" {sample.reward:.4f}, {lab.task.metric}"
        f" {task.format_metric(sample.valid)}"
      )

    path = folder / f"{name}.jsonl"
    earn = lambda arcs, first: trainer()(arcs, first)
    return no_sharing_lib.Ledger(path, space, earn, tell)

  samples = {}
  if lab.reference is not None:
    only = [lab.reference.searched]
    samples[_REFERENCE] = ledger_of(_REFERENCE)(only, 0)
  samples["no_sharing"] = no_sharing_lib.controller_search(
    config, space, count, ledger_of("no_sharing")
  )
  samples["random_search"] = no_sharing_lib.random_search(
    seed, space, count, ledger_of("random_search")
  )
  jax.clear_caches()
  # `tune_changes` may train another size than the search has. Images scaled
  # down, which they may ask for, too, change no number of weights.
  trained = dataclasses.replace(config, child=config.alone().child)
  trials = []
  for variant, row in samples.items():
    best = no_sharing_lib.best_of(row, lab.task.metric_sign)
    # What the whole search took, not the training of the best one.
    seconds = sum(sample.seconds for sample in row)
    params = lab.count_params(trained, best.arc)
    tokens = space.to_tokens(best.arc)
    trials.append(
      Trial(
        variant, seed, 0, best.valid, best.test, params, seconds, tokens
      )
    )  # fmt: skip
  return trials


STUDIES: Mapping[str, Study] = {
  "guided_random": Study(
    guided_random, trains_alone=True, sizes=("num_draws",)
  ),
  "search_disabled": Study(
    search_disabled, trains_alone=False, sizes=("ensemble",)
  ),
  "local_optimum": Study(
    local_optimum, trains_alone=True, sizes=("num_draws",), perturbs=True
  ),
  "no_sharing": Study(
    no_sharing,
    trains_alone=False,
    sizes=("num_samples",),
    baselines=(_REFERENCE, "random_search"),
  ),
}
