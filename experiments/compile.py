"""Compiles the programs of a preset for a chip that is not there.

  python -m experiments.compile --space=recurrent --topology=v5e:2x2
  python -m experiments.compile --arc=enas_macro --space=macro --card=h100

Compiled are the omega step, the theta step, the evaluation and the training of
one architecture alone, `--arc` or else a random one, for one chip of a TPU
topology, or for a mesh of `--num_chips`, which split a batch. For a card of
NVIDIA they are lowered alone. Seconds of a step, hours and cost of the whole
preset are estimates, and lower bounds: each operation at the peak of the chip,
with all that lies between them for nothing.

Where JAX has a chip of that kind, the command measures instead; without
`--topology` and `--card` it measures on the device that there is. Data are
random, of the size of the task's own data set.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import flags

from enas_jax import types
from enas_jax.analysis import chips, compile_ahead, preset_programs
from enas_jax.running import provenance
from enas_jax.search import devices as devices_lib
from enas_jax.spaces import arcs, registry
from experiments import _arcs, _cli, _flags

_RANDOM = "random:0"
_TRAINING = "training alone"


def main() -> None:
  """Compiles what the flags ask for, and prints it."""
  values = flags.FLAGS
  # A machine without a TPU has no metadata server that knows of one.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  targets = _targets()
  searching = _flags.resolve_config(values.space, also=_training_options())
  rows: list[dict[str, Any]] = []
  wholes: list[dict[str, Any]] = []
  for target, chip in targets:
    ours: list[dict[str, Any]] = []
    devices = _devices(target, chip)
    for program in _programs(searching, devices_lib.mesh_of(devices)):
      record = {"target": target, **_examine(program, devices, chip)}
      ours.append(record)
      if not values.json:
        print(_words(record), flush=True)
    wholes += _wholes(ours, target, chip)
    rows += ours
  if not values.json:
    print(*map(_total_words, wholes), sep="\n")
    return
  record = {
    "space": values.space,
    "preset": values.preset,
    "arc": values.arc or _RANDOM,
    "config": searching.to_dict(),
    "programs": rows,
    "totals": wholes,
    **provenance.provenance(),
  }
  print(json.dumps(record))


def _targets() -> list[tuple[str, chips.Chip | None]]:
  """What to compile for, by name; "here" is the device that JAX has."""
  values = flags.FLAGS
  named = [(t, chips.of_topology(t)) for t in values.topology]
  named += [(card, chips.CHIPS[card]) for card in values.card]
  if not named and values.price is not None:
    raise types.InputError("--price needs --topology or --card.")
  if not values.topology and values.num_chips > 1:
    raise types.InputError("--num_chips needs --topology.")
  return [*named] or [("here", None)]


def _devices(target: str, chip: chips.Chip | None) -> list[Any]:
  """The chips to compile for; one that is there, or none, stands for itself."""
  if chip is None or chip.platform != "tpu" or _is_here(chip):
    return [None]  # `mesh_of` makes one device of it
  return compile_ahead.find_chips(target, flags.FLAGS.num_chips)


def _is_here(chip: chips.Chip) -> bool:
  return chip.is_here(jax.devices()[0].device_kind)


def _programs(
  config: Any, devices: devices_lib.Devices
) -> Iterator[preset_programs.Program]:
  """The programs that `--program` names, all by default."""
  values = flags.FLAGS
  for program in preset_programs.of_search(
    config, values.space, values.vocabulary_size, devices
  ):
    if program.name in values.program:
      yield program
  trainable = values.space in registry.trainable()
  if _TRAINING in values.program and trainable:
    text = values.arc or _RANDOM
    # Flags of the search are set for it, and must not be refused here.
    options = _flags.option_names(config, values.space)
    training = _flags.resolve_config(
      values.space, preset=registry.train_preset, also=options
    )
    loaded = arcs.load_arc(text, values.space, training.child.space())
    training = _arcs.fit(loaded, training)
    yield preset_programs.of_training(
      training, values.space, loaded.arc, values.vocabulary_size, devices
    )


def _training_options() -> tuple[str, ...]:
  """Flags that the training alone has, and a search may lack."""
  space = flags.FLAGS.space
  if space not in registry.trainable():
    return ()
  preset = registry.train_preset(flags.FLAGS.preset, space)
  return _flags.option_names(preset, space)


def _examine(
  program: preset_programs.Program,
  devices: list[Any],
  chip: chips.Chip | None,
) -> dict[str, Any]:
  """Compiles a program, or runs it where the chip is there."""
  if chip is None or _is_here(chip):
    return compile_ahead.measure(program, flags.FLAGS.steps)
  if chip.platform == "tpu":
    return compile_ahead.compile_for(program, devices, chip)
  return compile_ahead.lower_for(program, chip)


def _wholes(
  records: list[dict[str, Any]], target: str, chip: chips.Chip | None
) -> list[dict[str, Any]]:
  """Hours and cost of the whole search, and of the whole training."""
  price = flags.FLAGS.price
  if price is None:
    price = chip.price if chip else None
  training = [r for r in records if r["program"] == _TRAINING]
  search = [r for r in records if r["program"] != _TRAINING]
  wholes = []
  for name, part in (("search", search), (_TRAINING, training)):
    if part:
      hours = compile_ahead.hours(part)
      # What is measured runs on one device.
      num_chips = part[0].get("num_chips", 1)
      wholes.append(
        {
          "what": name,
          "target": target,
          "measured": "step_seconds" in part[0],
          "hours": hours,
          "price_per_chip_hour": price,
          "cost": None if price is None else hours * price * num_chips,
        }
      )
  return wholes


def _words(record: Mapping[str, Any]) -> str:
  """What a program is like, for people."""
  mib = lambda name: (
    "?" if record.get(name) is None else f"{record[name] / 2**20:,.1f} MiB"
  )
  lines = [f"{record['program']}, {record['target']}"]
  if record["compile_seconds"] is None:
    lines[0] += ": lowered, not compiled"
  else:
    lines[0] += f": compiled in {record['compile_seconds']:.1f} s"
  memory = f"arguments {mib('argument_bytes')}"
  memory += f", temporaries {mib('temporary_bytes')}"
  if record.get("memory_bytes"):
    memory += f"; the chip has {mib('memory_bytes')}"
  if (fits := record.get("fits")) is not None:
    memory += f": {'fits' if fits else 'does not fit'}, in batches of"
    memory += f" {record['batch_size']}"
    if record["largest_batch"] is not None:
      memory += f"; about {record['largest_batch']:,} would (estimate)"
  lines.append(memory)
  work = f"{record['multiply_adds']:.4g} multiply-adds"
  if "num_bytes" in record:
    work += f", {record['num_bytes']:.4g} bytes moved"
  lines.append(
    f"{work}, conditionals {_shown(record['conditionals'])}, collectives"
    f" {_shown(record['collectives'])} that sum"
    f" {_shown(record['all_reduced_bytes'])} bytes"
  )
  if "step_seconds" in record:
    lines.append(f"measured: {record['step_seconds']:.3g} s")
  else:
    lines.append(
      f"estimate, at least: {record['estimated_step_seconds']:.3g} s"
    )
  return "\n  ".join(lines)


def _shown(count: int | None) -> str:
  return "not known" if count is None else f"{count:,}"


def _total_words(whole: Mapping[str, Any]) -> str:
  """Hours and cost, for people."""
  kind = "measured steps" if whole["measured"] else "estimate, at least"
  text = f"{whole['what']}, {whole['target']} ({kind}): {whole['hours']:.3g} h"
  if whole["cost"] is None:
    return text
  return (
    f"{text}, {whole['cost']:.3g} dollars at an assumed"
    f" {whole['price_per_chip_hour']:.2f} a chip and hour"
  )


def _define_flags() -> None:
  _flags.define_preset_flag()
  flags.DEFINE_enum("space", "recurrent", registry.names(), "the search space")
  flags.DEFINE_multi_string(
    "topology",
    [],
    "the TPU slice whose chips are compiled for, e.g. v5e:2x2; one of"
    f" {', '.join(chips.VERSIONS)}; may be given more than once",
  )
  flags.DEFINE_integer(
    "num_chips", 1, "chips of each topology that share the work", 1
  )
  flags.DEFINE_multi_enum(
    "card", [], chips.CARDS, "the card to lower for; more than once, too"
  )
  flags.DEFINE_multi_enum(
    "program",
    [*preset_programs.NAMES],
    preset_programs.NAMES,
    "the programs to compile, all by default; hours and cost are of these",
  )
  flags.DEFINE_float(
    "price", None, "dollars a chip and hour, in place of the assumed price", 0.0
  )
  flags.register_validator(
    "price",
    lambda price: price is None or math.isfinite(price),
    message="must be a finite number",
  )
  flags.DEFINE_integer("steps", 5, "timed repetitions where a chip is there", 1)
  flags.DEFINE_integer("vocabulary_size", 10000, "words, V", 2)
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _arcs.define_arc_flag()
  _flags.define_all_config_flags()


if __name__ == "__main__":
  _cli.import_plugins()
  _define_flags()
  _cli.run(main)
