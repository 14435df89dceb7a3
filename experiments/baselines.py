r"""Compares ENAS with searches that anyone would try instead (Section 3.3).

  python -m experiments.baselines --preset=small --data_dir=DIR \
      --benchmark_table=FILE --seeds=0,1,2 --workdir=RUNS

Of every policy and seed the cell that it would hand over is looked up in the
table of NAS-Bench-201, where each cell's accuracy after training alone stands:

- `controller`: ENAS, its policy trained with REINFORCE on shared weights.
- `supervised`: the same, whose controller also reconstructs its past samples
  (Adam & Lorraine, 2019).
- `random`: no controller; shared weights are trained on uniform cells, the best
  of K uniform ones is kept (Li & Talwalkar, 2019).
- `evolution`: regularised evolution on shared weights (Real et al., 2019).
- `local_search`: single edits of the best one so far (White et al., 2021).
- `tuned_controller`: `controller`, which also learns from candidates that are
  trained alone between epochs.
- `darts`, `gdas`, `snas`, `drnas`: gradient methods; see `docs/strategies.md`.
- `table_reinforce`: the same controller without weight sharing (Zoph & Le,
  2017): its rewards are `--num_queries` accuracies of the table. It is told the
  truth that the others do not see.
- `table_random`: the best of as many uniform cells of the table.

All but those on the table have the same omega steps, preset and K =
`--derive_arcs`, not the same seconds: `random` saves the theta steps, and a
mixture costs a step of every operation. `--equal_seconds=N` makes the steps of
every search take N seconds instead: it times them first and scales how many an
epoch has. Beside them stands pure chance, exactly: the mean over all cells, and
the expected best of K by their truth. The first policy is compared with each
other one, seed by seed. `tau` is Kendall's, between the shared weights' order
of `--ranking_arcs` uniform cells and the true one.

A search has a folder of its own in `--workdir`, POLICY-SEED, as written by
`experiments.nasbench201`; with `--resume` finished ones are not repeated, and
seeds and policies may be added. One that was run alone may be put there; with
other numbers or data it is refused. `result.json` and `--json` have all
numbers, `table.json` is the table as `experiments.results` reads it, and
`docs/nasbench201.md` has results.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import (
  benchmark_table,
  comparison,
  equal_seconds,
  table_lookup,
  table_reinforce,
)
from enas_jax.data import images
from enas_jax.report import results
from enas_jax.running import progress as progress_lib
from enas_jax.running import searches
from enas_jax.search import folder as folder_lib
from enas_jax.search import loop, runs
from enas_jax.spaces import registry
from enas_jax.spaces.nasbench201 import arc as nasbench201
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import (
  _baseline_table,
  _cli,
  _flags,
  _saved,
  _table,
  _workdir,
)

SEARCHES = strategies.names()
# Methods that see true accuracies, and no shared weights.
_ON_TABLE: Mapping[str, Callable[..., table_reinforce.TableResult]] = {
  "table_reinforce": table_reinforce.search,
  "table_random": lambda config, table, queries: table_reinforce.random_search(
    table, jax.random.key(config.run.seed), queries
  ),
}
POLICIES = (*SEARCHES, *_ON_TABLE)
_SPACE = registry.get(benchmark_table.SPACE)
_TASK = tasks.get(_SPACE.task)
_CHANCE = "random"  # the search that others must beat
_TABLE = "table.json"
_TAU = "kendall_tau.json"  # in the folder of a search
_TITLE = "Cell found in a comparison"
Rows = dict[str, list[dict[str, Any]]]
Configs = dict[str, config_lib.SearchConfig]  # by policy, of `SEARCHES`


def main() -> None:
  """Runs what is left of the comparison and shows it."""
  values = flags.FLAGS
  policies, seeds = _policies(), _flags.seeds()
  workdir, saved = _workdir.open_workdir("baselines")
  dataset = _workdir.resolve_dataset(_TASK, saved)
  configs = _configs(saved, dataset)
  seconds = _equal_seconds(saved)
  # As they are asked for: with equal seconds they are scaled anew each time.
  asked = {name: c.to_dict() for name, c in configs.items()}
  more: dict[str, Any] = {"configs": asked, "equal_seconds": seconds}
  record_of = ("baselines", _SPACE.name, configs["controller"], dataset, saved)
  _workdir.print_config(*record_of, more)
  if values.benchmark_table is None:
    raise types.InputError("--benchmark_table must be given: the truth.")
  if "table_reinforce" in policies:
    table_reinforce.check_budget(configs["controller"], values.num_queries)
  table = _table.load_complete()
  progress = loop.Progress() if values.json else progress_lib.TerminalProgress()
  runner = _Runner(configs, dataset, table, workdir, saved, progress)
  _cli.enable_compilation_cache()
  costs = dict((saved or {}).get("step_seconds", {}))
  # Each is timed, or scaled by the seconds that were kept when it first was.
  for policy in policies if seconds else ():
    if policy in SEARCHES:
      costs[policy] = runner.equalise(policy, seconds, costs.get(policy))
  for policy in policies:
    for seed in seeds:
      # All of them, before the first one is run.
      runner.check(policy, seed)
  workdir = runner.workdir = _workdir.write_config(
    workdir, *record_of, more | {"step_seconds": costs}
  )
  rows: Rows = {policy: [] for policy in policies}
  # Seed by seed, so that a comparison that is stopped has whole pairs.
  for seed in seeds:
    for policy in policies:
      progress.line(f"{policy}, seed {seed}")
      rows[policy].append(runner.run(policy, seed))
  record = comparison.summarise(
    rows, table, configs["controller"].run.derive_arcs, _CHANCE
  )
  record |= {"seeds": seeds, "num_queries": values.num_queries}
  record |= {"equal_seconds": seconds, "step_seconds": costs}
  text = json.dumps(record, allow_nan=False)
  folder_lib.write(workdir / folder_lib.RESULT, text + "\n")
  shown = _baseline_table.make_table(record, _workdir.origin())
  results.save(shown, workdir / _TABLE)
  lines = [shown.title, "", results.to_markdown(shown), "", shown.note]
  print(text if values.json else "\n".join(lines))


def _configs(saved: Mapping[str, Any] | None, dataset: str) -> Configs:
  """What every search is run with: the same but for its strategy."""
  configs: Configs = {}
  kept_configs = (saved or {}).get("configs", {})
  if not isinstance(kept_configs, dict) or (saved and not kept_configs):
    raise types.InputError(
      "config.json in --workdir is damaged: 'configs' must be an object; give"
      " another --workdir."
    )
  for policy in SEARCHES:
    kept = saved and kept_configs.get(policy)
    if saved and kept is None:
      # A comparison that was begun when there was no such strategy.
      configs[policy] = strategies.with_policy(configs["controller"], policy)
      continue
    config = _flags.resolve_config(
      _SPACE.name, kept, policy=policy, beside=SEARCHES, part=policy
    )
    configs[policy] = config if saved else _flags.suit(config, _TASK, dataset)
  return configs


def _equal_seconds(saved: Mapping[str, Any] | None) -> float:
  """`--equal_seconds`, or that of the comparison that is resumed.

  Raises:
    InputError: if both are given and differ.
  """
  given = flags.FLAGS["equal_seconds"].present
  asked = float(flags.FLAGS.equal_seconds)
  if saved is None:
    return asked
  kept = float(saved.get("equal_seconds", 0.0))
  if given and asked != kept:
    raise types.InputError(
      f"--equal_seconds={asked:g} differs from the comparison's"
      f" {kept:g}; leave it out, or give another --workdir."
    )
  return kept


class _Runner:
  """Runs one policy with one seed after another."""

  def __init__(
    self,
    configs: Configs,
    dataset: str,
    table: benchmark_table.BenchmarkTable,
    workdir: pathlib.Path,
    saved: Mapping[str, Any] | None,
    progress: loop.Progress,
  ) -> None:
    self._configs, self._dataset, self._table = configs, dataset, table
    self.workdir, self._saved = workdir, saved
    self._progress = progress
    # Policies on the table do without images.
    self._data: images.ImageData | None = None

  def run(self, policy: str, seed: int) -> dict[str, Any]:
    """The row of the result, from the table or from a search.

    Raises:
      Interrupted: after a signal.
    """
    config = self._config_of(policy, seed)
    if policy in SEARCHES:
      return self._run_search(config)
    return self._query(config, policy)

  def check(self, policy: str, seed: int) -> None:
    """Refuses a search in its place that is not the one to be compared.

    Raises:
      InputError: if its numbers or its data are others.
    """
    folder = self._folder(policy, seed)
    if policy not in SEARCHES or not any(folder.glob("*")):
      return
    space, kept, dataset = runs.read_config(folder)
    if (space, dataset) != (_SPACE.name, self._dataset):
      raise types.InputError(
        f"the search in {folder} is of {space} on {dataset}, not of"
        f" nasbench201 on {self._dataset}; give another --workdir, or move that"
        " folder away."
      )
    _flags.check_same(space, kept, self._config_of(policy, seed), folder)

  def equalise(
    self, policy: str, seconds: float, known: Mapping[str, float] | None
  ) -> dict[str, float]:
    """Gives the searches of a policy as many steps as take so long.

    Args:
      policy: the policy.
      seconds: what the steps of a search may take together.
      known: seconds of its steps, "omega" and "theta"; None: they are measured.

    Returns:
      The seconds of its steps.

    Raises:
      InputError: if more omega steps would fit than an epoch has.
    """
    config = self._configs[policy]
    task, splits = self._prepare(config)
    if known is None:
      self._progress.line(f"{policy}: timing its steps")
      costs = equal_seconds.measure(config, task, splits)
    else:
      costs = equal_seconds.Costs(**known)
    per_epoch = task.steps_per_epoch(splits.train)
    config = equal_seconds.scale(config, costs, per_epoch, seconds)
    # The steps of an epoch are those asked for, but no more than it has
    # batches.
    asked, scaled_task = config.omega.steps, self._prepare(config)[0]
    if scaled_task.steps_per_epoch(splits.train) < asked:
      raise types.InputError(
        f"--equal_seconds={seconds:g} is {asked} omega steps of {policy} an"
        " epoch, more than the data have; give fewer seconds, or more"
        " --num_epochs."
      )
    self._progress.line(
      f"{policy}: {costs.omega:.3g} s an omega step, {costs.theta:.3g} s a"
      f" theta step; {asked} and {config.theta.steps} an epoch"
    )
    # Before `check` and `run`, which hold searches against these numbers.
    self._configs[policy] = config
    return costs._asdict()

  def _prepare(
    self, config: config_lib.SearchConfig
  ) -> tuple[tasks_base.Task, tasks_base.Splits]:
    """The task and the data on the device."""
    if self._data is None:
      # Once: policies differ in no option of the data.
      self._data = _TASK.load(self._dataset, flags.FLAGS.data_dir, config)
    task = _TASK.create(config, _SPACE.network, self._data)
    return task, task.splits(self._data)

  def _config_of(self, policy: str, seed: int) -> config_lib.SearchConfig:
    # Those on the table take the controller's numbers.
    config = self._configs.get(policy, self._configs["controller"])
    return config_lib.override(config, "run", seed=seed)

  def _folder(self, policy: str, seed: int) -> pathlib.Path:
    return self.workdir / f"{policy}-{seed}"

  def _query(
    self, config: config_lib.SearchConfig, policy: str
  ) -> dict[str, Any]:
    """A search on the table: seconds, so it is not kept."""
    # The catcher of the search before would swallow a signal.
    stop = progress_lib.SignalCatcher().stop
    # Fractions, as the accuracies that reward a controller elsewhere.
    table = table_reinforce.Table(
      config.child.space(),
      nasbench201.NasBench201Arc(jnp.asarray(self._table.arcs)),
      self._table.accuracies / 100.0,
    )
    queries = flags.FLAGS.num_queries
    best = _ON_TABLE[policy](config, table, queries)
    if stop():
      raise loop.Interrupted(stop())
    return self._row(config, best.arc)

  def _run_search(self, config: config_lib.SearchConfig) -> dict[str, Any]:
    """One search in a folder of its own, unless it is finished."""
    folder = self._folder(config.run.policy, config.run.seed)
    task, splits = self._prepare(config)
    # Refused before it writes.
    devices = _workdir.open_devices(config.data.batch_size)
    # As the search's own script would write it, which can go on with it.
    _workdir.write_config(
      folder, _SPACE.name, _SPACE.name, config, self._dataset, self._saved
    )
    ready = searches.Ready(_SPACE.name, config, task, splits, devices)
    stop = progress_lib.SignalCatcher().stop
    finished = searches.run(ready, folder, self._progress, stop, _TITLE)
    row = self._row(config, finished.result.arc)
    for name in ("search_seconds", "omega_steps", "theta_steps"):
      row[name] = finished.result.record[name]
    if flags.FLAGS.ranking_arcs:
      row["kendall_tau"] = self._kendall_tau(finished, row)
    return row

  def _kendall_tau(
    self, finished: searches.Finished, row: Mapping[str, Any]
  ) -> float | None:
    """That of a search, which is kept in its folder: it takes a while.

    None where it is not defined, as all scores are equal.
    """
    path = finished.workdir / _TAU
    accuracies = self._table.accuracies
    asked = {
      "ranking_arcs": flags.FLAGS.ranking_arcs,
      "table": hashlib.sha256(accuracies.tobytes()).hexdigest(),
      "omega_steps": row["omega_steps"],
      "theta_steps": row["theta_steps"],
    }
    kept: dict[str, Any] = {}
    if path.exists():
      kept = folder_lib.read_json(path, "delete it, and it is computed again")
    if any(kept.get(name) != value for name, value in asked.items()):
      order = _table.rank(finished, self._table)
      kept = {**asked, "kendall_tau": order.to_dict()["kendall_tau"]}
      folder_lib.write_json(path, kept)
    tau = kept["kendall_tau"]
    return None if tau is None else float(tau)

  def _row(
    self, config: config_lib.SearchConfig, arc: nasbench201.NasBench201Arc
  ) -> dict[str, Any]:
    space = config.child.space()
    return {
      "seed": config.run.seed,
      "ops": space.to_digits(arc),
      "arc_str": space.to_arc_str(arc),
      **table_lookup.cell(self._table, arc.ops),
      # Of searches with shared weights alone.
      "search_seconds": None,
      "omega_steps": None,
      "theta_steps": None,
      "kendall_tau": None,
    }


def _policies() -> list[str]:
  if flags.FLAGS["policy"].value is not None:
    raise types.InputError("--policy does nothing here; give --policies.")
  policies = list(flags.FLAGS.policies)
  unknown = [policy for policy in policies if policy not in POLICIES]
  if unknown or not policies or len(set(policies)) < len(policies):
    raise types.InputError(
      f"--policies must be different ones of {', '.join(POLICIES)}, got"
      f" {','.join(policies)!r}."
    )
  return policies


def define_flags() -> None:
  """The flags of this script."""
  _workdir.define_run_flags(_SPACE.name)
  _saved.define_flags()
  _flags.define_config_flags(_SPACE.name)
  _flags.define_seeds_flag(["0", "1", "2"])
  flags.DEFINE_list(
    "policies",
    list(POLICIES),
    f"what to compare, of {', '.join(POLICIES)}; the first with each other one",
  )
  _table.define_table_flag()
  flags.DEFINE_integer(
    "num_queries", 100, "accuracies that a method on the table sees", 1
  )
  _table.define_ranking_flag()
  flags.DEFINE_float(
    "equal_seconds",
    0.0,
    "seconds that the steps of every search shall take, compilation,"
    " evaluation and the derive step apart: their numbers are scaled by what"
    " they cost here; 0: the same steps for all",
    0.0,
  )
  flags.register_validator(
    "equal_seconds", math.isfinite, message="must be a finite number"
  )
  flags.DEFINE_boolean("json", False, "print one JSON object")


if __name__ == "__main__":
  define_flags()
  _cli.run(main, unused=("policy", "seed"))
