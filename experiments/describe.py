"""Describes an architecture, or a supergraph: its size and its form.

  python -m experiments.describe --run=RUN --draw=cell.svg
  python -m experiments.describe --arc=enas_rnn --preset=released
  python -m experiments.describe --space=micro --json

With `--run` the architecture of a run, on its data and at its preset's size; of
a training, as it was trained. With `--arc` one architecture, as it is trained
alone or, with `--network=searched`, as it is part of the supergraph. With
neither the supergraph of `--space`, of which only parameters are counted: it
never runs as a whole.
The size of the space follows from the architecture; everything else is of the
preset and the flags. Takes seconds; nothing is compiled.

Parameters leave out the auxiliary head. Multiply-adds are those of the matrix
products and convolutions for one image, or one token with its softmax.
Activations are the outputs of these and of poolings, 4 bytes a number.
"""

import json
import pathlib
from typing import Any

from absl import flags

from enas_jax import config as config_lib
from enas_jax import files, types
from enas_jax.report import drawing as drawing_lib
from enas_jax.search import folder
from enas_jax.spaces import base, describe, registry
from enas_jax.tasks import registry as tasks
from experiments import _arcs, _cli, _data, _flags, _workdir


def main() -> None:
  """Prints the description that the flags ask for."""
  values = flags.FLAGS
  _arcs.take_run()
  suffix = _draw_suffix()
  if values.arc is None:
    if values.space is None:
      raise types.InputError(
        "give --run, a run, --arc, an architecture, or --space, for its"
        " supergraph."
      )
    name, arc, config = values.space, None, _flags.resolve_config(values.space)
    head: dict[str, Any] = {}
  else:
    loaded = _arcs.load(values.space, _preset)
    name, arc = loaded.name, loaded.arc
    config = _arcs.fit(loaded, _config(name))
    head = {"arc": loaded.space.to_dict(arc)}
  data = _shape_of_data(name, config)
  record = describe.describe(name, config.child, arc, data)
  record |= {
    "preset": values.preset,
    **registry.get(name).network.setting(data),
    **head,
  }
  drawing = None
  if arc is not None:
    drawing = drawing_lib.draw_arc(name, config.child, arc, _title())
    if suffix:
      _write(getattr(drawing, suffix))
  if values.json:
    print(json.dumps(record))
    return
  if drawing is not None:
    print(drawing.text + "\n")
  print("\n".join(_table(record)))


def _preset(name: str, space: str) -> config_lib.AnyConfig:
  """What `--network` asks for; a space without trainings has searches alone."""
  if flags.FLAGS.network == "trained" and space in registry.trainable():
    return registry.train_preset(name, space)
  return registry.preset(name, space)


def _draw_suffix() -> str:
  """Of `--draw`, without its dot; empty without the flag."""
  path = flags.FLAGS.draw
  if path is None:
    return ""
  suffix = pathlib.Path(path).suffix.removeprefix(".")
  if suffix not in ("svg", "png", "dot"):
    raise types.InputError(
      f"--draw must end in .svg, .png or .dot (Graphviz), got {path!r}."
    )
  if flags.FLAGS.arc is None:
    raise types.InputError("--draw needs --run or --arc: what to draw.")
  return suffix


def _write(content: str | bytes) -> None:
  path = flags.FLAGS.draw
  try:
    folder.write(files.expand(path), content)
  except OSError as error:
    raise types.InputError(
      f"--draw={path} cannot be written: {error.strerror}."
    ) from None


def _title() -> str:
  """A path is of no interest to whoever looks at the picture."""
  text = flags.FLAGS.arc.strip()
  named = registry.named()
  title = named[text][1].source if text in named else "architecture"
  return title[0].upper() + title[1:]


def _config(space: str) -> config_lib.AnyConfig:
  """That of the flags, or of the run of `--run` where it has that network."""
  run = _arcs.config_of_run(space)
  if run is None:
    return _flags.resolve_config(space, preset=_preset)
  searched = isinstance(run, config_lib.SearchConfig)
  if not searched or flags.FLAGS.network == "searched":
    preset = registry.preset if searched else registry.train_preset
    # The run's own numbers, which flags may change.
    return _flags.resolve_config(space, preset=preset, start=run)
  # Numbers of a training, on the data of the search.
  config = _flags.resolve_config(space, preset=_preset)
  return _arcs.on_data_of_run(config, space)


def _shape_of_data(space: str, config: config_lib.AnyConfig) -> base.DataShape:
  """That of the flags, or else of the data of `--run`."""
  values = flags.FLAGS
  side = getattr(config.data, "image_size", 0) or 32
  shape = (side, side, values.channels)
  shown = base.DataShape(values.vocabulary_size, shape, values.num_classes)
  told = ("vocabulary_size", "channels", "num_classes")
  # What is typed outweighs the data of the run.
  if values.run is None or any(values[name].present for name in told):
    return shown
  record = _data.read_record(files.expand(values.run))
  _data.take_folder(record)
  definition = registry.get(space)
  task = tasks.get(definition.task)
  data = task.load(str(record.get("dataset")), values.data_dir, config)
  return task.create(config, definition.network, data).data_shape


def _table(record: dict[str, Any]) -> list[str]:
  """The numbers for people, those of the parts below."""
  rows = {
    name: value
    for name, value in record.items()
    if value is not None and name not in ("arc", "shape", "params_by_part")
  }
  rows |= {f"  {k}": v for k, v in record["params_by_part"].items()}
  wide = max(map(len, rows))
  return [
    f"{name:{wide}}  {f'{value:,}' if isinstance(value, int) else value}"
    for name, value in rows.items()
  ]


def define_flags() -> None:
  """The flags of this script."""
  _flags.define_preset_flag()
  flags.DEFINE_enum("space", None, registry.names(), "the search space")
  flags.DEFINE_enum(
    "network",
    "trained",
    ("trained", "searched"),
    "with --arc, whose numbers the preset gives: those of the network that is"
    " trained alone, or those of the search",
  )
  flags.DEFINE_integer("vocabulary_size", 10000, "words, V", 2)
  flags.DEFINE_integer("num_classes", 10, "classes of the images", 2)
  flags.DEFINE_integer("channels", 3, "channels of the images", 1)
  flags.DEFINE_string("draw", None, "also draw it: a file .svg, .png or .dot")
  flags.DEFINE_boolean("json", False, "print one JSON object")
  _arcs.define_arc_flag()
  _arcs.define_run_flag()
  _workdir.define_data_dir_flag()
  _flags.define_all_config_flags()


if __name__ == "__main__":
  _cli.import_plugins()
  define_flags()
  _cli.run(main)
