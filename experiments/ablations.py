r"""The paper's own ablations (Sections 3.1 to 3.3).

  python -m experiments.ablations --space=macro --preset=small --data_dir=DIR \
      --study=guided_random,local_optimum --seeds=0,1,2 --workdir=RUNS

What makes the architecture that ENAS finds good? The reference is the paper's
own, `--arc` or that of a search, `--run`; of one that is larger than the
preset's space the first nodes or layers are taken. The studies:

- `guided_random`: uniform architectures trained in the same settings, skip
  connections with the probability 0.4.
- `local_optimum`: the reference changed as the paper changed it, and as it did
  not; a change may keep the number of parameters by other filters.
- `search_disabled`: shared weights under a controller that never learns;
  single samples, and the averaged probabilities of `--ensemble` of them.
- `no_sharing`: a controller that learns from `--num_samples` samples, each
  trained alone for `--tune_steps` (Zoph & Le, 2017), beside random search.

The first two train by the space's presets of training, the others by those of a
search, and so does the reference that each stands beside. For each variant the
table has the error over trials; by how much it is above the reference's, with
Student's interval over seeds; and the paper's figure, which is of another
scale. Every training is a folder in `--workdir`. After a stop `--resume` goes
on; seeds and studies may be added. `result.json` and `--json` have all numbers,
`table.json` is the table as data. `docs/ablations.md` has what was run.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.analysis import (
  ablation_lab,
  ablation_summary,
  ablations,
  no_sharing,
)
from enas_jax.report import results
from enas_jax.running import progress as progress_lib
from enas_jax.search import devices as devices_lib
from enas_jax.search import folder as folder_lib
from enas_jax.search import loop
from enas_jax.spaces import arcs, registry
from enas_jax.spaces import base as spaces
from enas_jax.tasks import base as tasks_base
from enas_jax.tasks import registry as tasks
from experiments import (
  _ablation_saved,
  _ablation_table,
  _arcs,
  _cli,
  _flags,
  _saved,
  _workdir,
)

_TABLE = "table.json"
# What is done by default: the paper's 250 votes, and as much as shows something
# where the paper prints no number; with --preset=smoke, all in minutes.
_SIZES = ablation_lab.Sizes(num_draws=3, ensemble=250, num_samples=20)
_SMOKE_SIZES = ablation_lab.Sizes(num_draws=1, ensemble=8, num_samples=4)
_SEEDS, _SMOKE_SEEDS = [0, 1, 2], [0]


class Configs(NamedTuple):
  """What is trained, and the architecture that others are held against.

  Attributes:
    training: the configuration of one training, or None; see `Lab`.
    search: the configuration of a search.
    reference: see `Lab`.
  """

  training: config_lib.TrainConfig | None
  search: config_lib.SearchConfig
  reference: ablation_lab.Arcs | None

  def to_dict(self) -> dict[str, Any]:
    """All of it, JSON-ready."""
    return {
      "configs": {
        "training": self.training and self.training.to_dict(),
        "search": self.search.to_dict(),
      },
      "reference": self.reference
      and {
        "trained": self.training
        and self.training.child.space().to_dict(self.reference.trained),
        "searched": self.search.child.space().to_dict(self.reference.searched),
      },
    }


def main() -> None:
  """Does what is left of the studies and shows them."""
  values = flags.FLAGS
  workdir, saved = _ablation_saved.open_workdir()
  definition = _definition(saved)
  task = tasks.get(definition.task)
  sizes, seeds = _sizes(saved), _flags.seeds(_default_seeds(saved))
  names = _studies(definition, saved)
  dataset = _workdir.resolve_dataset(task, saved)
  configs = _configs(definition, task, names, dataset, saved)
  if "num_samples" in _read_sizes(names):
    no_sharing.check_budget(configs.search, sizes.num_samples)
  more = configs.to_dict() | {"study": names, "seeds": seeds}
  more["sizes"] = vars(sizes)
  record_of = (
    _ablation_saved.EXPERIMENT,
    definition.name,
    configs.search,
    dataset,
    saved,
  )
  _workdir.print_config(*record_of, more)
  load = _Data(task, dataset)
  # What cannot be had must leave no folder behind.
  alone = any(ablations.STUDIES[name].trains_alone for name in names)
  load(configs.training if configs.training and alone else configs.search)
  devices = devices_lib.of(values.num_devices)
  _cli.enable_compilation_cache()
  workdir = _workdir.write_config(workdir, *record_of, more)
  progress = loop.Progress() if values.json else progress_lib.TerminalProgress()

  def open_folder(
    name: str, config: config_lib.AnyConfig, arc: types.Arc | None
  ) -> pathlib.Path:
    return _open_folder(workdir / name, definition.name, config, arc, dataset)

  lab = ablation_lab.Lab(
    definition, task, *configs, sizes,
    load=load,
    open_folder=open_folder,
    progress=progress,
    stop=progress_lib.SignalCatcher().stop,
    devices=devices,
  )  # fmt: skip
  trials: dict[str, list[ablation_lab.Trial]] = {name: [] for name in names}
  # Seed by seed, so that studies that are stopped have whole pairs.
  for seed in seeds:
    for name in names:
      trials[name] += ablations.STUDIES[name].run(lab, seed)
  record = {
    "space": definition.name,
    "preset": saved["preset"] if saved else _saved.preset(),
    "dataset": dataset,
    "error": task.error_name,
    "seeds": seeds,
    "sizes": {
      name: getattr(sizes, name) for name in sorted(_read_sizes(names))
    },
    "reference": configs.to_dict()["reference"],
    "studies": _summaries(lab, trials),
  }
  text = folder_lib.dumps(record)
  folder_lib.write(workdir / folder_lib.RESULT, text + "\n")
  table = _ablation_table.make_table(record, _workdir.origin())
  results.save(table, workdir / _TABLE)
  shown = [table.title, "", results.to_markdown(table), "", table.note]
  print(text if values.json else "\n".join(shown))


def _summaries(
  lab: ablation_lab.Lab, trials: Mapping[str, list[ablation_lab.Trial]]
) -> dict[str, Any]:
  """By study, its variants and all its trials."""
  return {
    name: {
      "variants": ablation_summary.summarise(
        lab.definition, lab.task, of_study, ablations.STUDIES[name].baselines
      ),
      "trials": [trial._asdict() for trial in of_study],
    }
    for name, of_study in trials.items()
  }


def _definition(saved: Mapping[str, Any] | None) -> spaces.Definition:
  asked = flags.FLAGS.space or (None if saved else _saved.space())
  if saved is None:
    if asked is None:
      raise types.InputError(
        f"--space must be given, one of {', '.join(registry.names())}."
      )
    return registry.get(asked)
  if asked not in (None, saved["space"]):
    raise _flags.differs(("space", asked, saved["space"]))
  return registry.get(saved["space"])


def _default_seeds(saved: Mapping[str, Any] | None) -> Sequence[int]:
  """Those of the run that is resumed, or those that suit the preset."""
  if told := _ablation_saved.told(saved):
    return [int(seed) for seed in told["seeds"]]
  return _SMOKE_SEEDS if _saved.preset() == "smoke" else _SEEDS


def _studies(
  definition: spaces.Definition, saved: Mapping[str, Any] | None
) -> list[str]:
  """The studies of `--study`, or of the run that is resumed.

  By default all that the space admits.
  """
  known = ablations.STUDIES
  asked = flags.FLAGS.study
  if asked is None and (told := _ablation_saved.told(saved)):
    asked = told["study"]
  if asked is None:
    return [name for name in known if not known[name].why_not(definition)]
  unknown = [name for name in asked if name not in known]
  if unknown or not asked or len(set(asked)) < len(asked):
    raise types.InputError(
      f"--study must be different ones of {', '.join(known)}, got"
      f" {','.join(asked)!r}."
    )
  for name in asked:
    if reason := known[name].why_not(definition):
      raise types.InputError(
        f"--study={name} is not for the {definition.name} space, which"
        f" {reason}; leave it out."
      )
  return list(asked)


def _read_sizes(names: Sequence[str]) -> set[str]:
  """The sizes that these studies read."""
  return {size for name in names for size in ablations.STUDIES[name].sizes}


def _sizes(saved: Mapping[str, Any] | None) -> ablation_lab.Sizes:
  """The flags of the sizes; else those of the run that is resumed."""
  if told := _ablation_saved.told(saved):
    default = ablation_lab.Sizes(**told["sizes"])
  else:
    default = _SMOKE_SIZES if _saved.preset() == "smoke" else _SIZES
  given = _flags.set_values(*vars(default))
  sizes = ablation_lab.Sizes(**{**vars(default), **given})
  if saved and sizes.ensemble != default.ensemble:
    # Votes that were taken are those of so many.
    raise _flags.differs(("ensemble", sizes.ensemble, default.ensemble))
  return sizes


def _configs(
  definition: spaces.Definition,
  task: tasks_base.Definition,
  names: Sequence[str],
  dataset: str,
  saved: Mapping[str, Any] | None,
) -> Configs:
  """The configurations that the flags ask for, or those of a resumed run."""
  presets: dict[str, _flags.Preset] = {"search": registry.preset}
  if definition.train_presets:
    presets["training"] = registry.train_preset
  options = {
    kind: _flags.option_names(preset("paper", definition.name), definition.name)
    for kind, preset in presets.items()
  }
  _check_flags(names, options)
  also = {name for known in options.values() for name in known}
  resolved: dict[str, Any] = {}
  for kind, preset in presets.items():
    kept = saved and saved["configs"][kind]
    config = _flags.resolve_config(
      *(definition.name, kept, preset),
      policy="controller",
      also=also,
      part=kind,
    )
    if kept and config.run.num_epochs != kept["run"]["num_epochs"]:
      # Trainings that are finished have so many.
      raise _flags.differs(
        ("num_epochs", config.run.num_epochs, kept["run"]["num_epochs"])
      )
    if not saved:
      config = _flags.suit(config, task, dataset)
    if not task.has_validation(config):
      raise types.InputError(
        "--num_valid is 0, but the studies report validation errors."
      )
    resolved[kind] = config
  training = resolved.get("training")
  if saved:
    return Configs(training, resolved["search"], _saved_reference(saved))
  return _with_reference(definition, names, training, resolved["search"])


def _check_flags(
  names: Sequence[str], options: Mapping[str, Sequence[str]]
) -> None:
  """Refuses flags that would do nothing in these studies."""
  for name in filter(_flags.is_set, ("policy", "theta_steps")):
    raise types.InputError(
      f"--{name} does nothing here: a controller samples, and each study says"
      " how often it learns; leave it out."
    )
  alone = [ablations.STUDIES[name].trains_alone for name in names]
  read = _read_sizes(names)
  for kind, other, unread in (
    ("search", "training", all(alone)),
    ("training", "search", not any(alone)),
  ):
    if unread and kind in options:
      read |= set(options.get(other, ()))
      for name in filter(_flags.is_set, options[kind]):
        if name not in read:
          raise _no_use(name, names)
  for name in filter(_flags.is_set, vars(_SIZES)):
    if name not in read:
      raise _no_use(name, names)


def _no_use(name: str, names: Sequence[str]) -> types.InputError:
  return types.InputError(
    f"--{name} does nothing with --study={','.join(names)}; leave it out."
  )


def _saved_reference(saved: Mapping[str, Any]) -> ablation_lab.Arcs | None:
  for name in ("arc", "run"):
    if _flags.is_set(name):
      raise types.InputError(
        f"--{name} is given, but the run in --workdir has its reference"
        " already; leave the flag out, or give another --workdir."
      )
  if saved["reference"] is None:
    return None
  both = (saved["reference"][name] for name in ablation_lab.Arcs._fields)
  return ablation_lab.Arcs(
    *(record and arcs.of_record(record).arc for record in both)
  )


def _with_reference(
  definition: spaces.Definition,
  names: Sequence[str],
  training: config_lib.TrainConfig | None,
  search: config_lib.SearchConfig,
) -> Configs:
  """The reference, and both configurations with the options that it decides."""
  largest = training or search
  loaded = _load_reference(definition, largest.child.space())
  if loaded is None:
    if any(ablations.STUDIES[name].trains_alone for name in names):
      raise types.InputError(
        f"--arc or --run must be given: the {definition.name} space has no"
        " architecture with a name."
      )
    return Configs(training, search, None)
  trained = None
  if training is not None:
    part = arcs.cut(loaded, training.child.space())  # first nodes or layers
    training, trained = _arcs.fit(part, training), part.arc
  part = arcs.cut(loaded, search.child.space())
  search = _arcs.fit(part, search)
  return Configs(training, search, ablation_lab.Arcs(trained, part.arc))


def _load_reference(
  definition: spaces.Definition, drawn: Any
) -> arcs.Architecture | None:
  """The architecture of `--run` or `--arc`, or the paper's own."""
  values = flags.FLAGS
  if values.run is not None:
    if values.arc is not None:
      raise types.InputError("give --arc or --run, not both.")
    path = files.expand(values.run) / folder_lib.ARC
    return arcs.load_arc(str(path), definition.name)
  reference = (_ablation_saved.told(None) or {}).get("reference")
  if reference and values.arc is None:
    return arcs.of_record(reference["trained"] or reference["searched"])
  text = values.arc or next(iter(definition.named), None)
  return arcs.load_arc(text, definition.name, drawn) if text else None


class _Data:
  """Loads a data set once for each way to divide it."""

  def __init__(self, task: tasks_base.Definition, dataset: str) -> None:
    self._task, self._dataset = task, dataset
    self._loaded: dict[Any, tasks_base.Data] = {}

  def __call__(self, config: config_lib.AnyConfig) -> tasks_base.Data:
    """The data that a configuration asks for."""
    part = config.data
    if part not in self._loaded:
      self._loaded[part] = self._task.load(
        self._dataset, flags.FLAGS.data_dir, config
      )
    return self._loaded[part]


def _open_folder(
  folder: pathlib.Path,
  space: str,
  config: config_lib.AnyConfig,
  arc: types.Arc | None,
  dataset: str,
) -> pathlib.Path:
  """The folder of one training or search, as its own script would write it."""
  if (folder / folder_lib.CONFIG).exists():
    _workdir.hold(folder)
    return folder
  if arc is None:
    return _workdir.write_config(folder, "search", space, config, dataset, None)
  written = config.child.space().to_dict(arc)
  more = {
    "arcs": [written],
    "arc": written["tokens"],
    "init": "scratch",
    "retrain_top": 0,
  }
  return _workdir.write_config(
    folder, "train", space, config, dataset, None, more
  )


def define_flags() -> None:
  """The flags of this script."""
  flags.DEFINE_enum("space", None, registry.names(), "the search space")
  flags.DEFINE_list(
    "study",
    None,
    f"what is studied, of {', '.join(ablations.STUDIES)}; by default all that"
    " the space admits",
  )
  _flags.define_seeds_flag(None)
  flags.DEFINE_integer(
    "num_draws", None, "architectures drawn by chance for each seed", 1
  )
  flags.DEFINE_integer(
    "ensemble", None, "samples whose probabilities are averaged", 1
  )
  flags.DEFINE_integer(
    "num_samples", None, "samples that a search without sharing trains", 1
  )
  _arcs.define_arc_flag()
  flags.DEFINE_string(
    "run", None, "the folder of a search, whose architecture is the reference"
  )
  _workdir.define_run_flags(*registry.names())
  _saved.define_flags()
  _flags.define_all_config_flags()
  flags.DEFINE_boolean("json", False, "print one JSON object")


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main, unused=("policy", "seed", "theta_steps"))
