"""What `--help` shows: a script's flags in groups, with their defaults."""

import pathlib
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from enas_jax import config as config_lib
from enas_jax.running import options as options_lib
from experiments import _commands, _flags, _saved, _terminal

# The words that ask for it; absl's --helpfull has the libraries' flags, too.
WORDS = ("--help", "-help", "-h", "-?", "--helpshort", "-helpshort")
_NAME = 30  # columns of a flag and its default
_SCRIPT = "This script"
_RUN = "Run"
_DATA = "Data"
_LAST = "Last step, which keeps one architecture"
# The parts of a configuration whose options stand together.
_GROUPS: dict[str, tuple[str, ...]] = {
  _SCRIPT: (),
  _RUN: ("run",),
  _DATA: ("data",),
  "Network": ("child",),
  "Omega, the weights": ("omega",),
  "Theta, which proposes architectures": ("theta", "strategy"),
  _LAST: (),
}
# Parts that have hardly an option in common from one space to another.
_OF_SPACE = ("child", "omega", "theta", "strategy")
# Flags that are no fields of a configuration, and come first in their group;
# those that are not here are the script's own.
_PLACES = {
  **dict.fromkeys(("preset", "config", "print_config"), _RUN),
  **dict.fromkeys(("workdir", "resume"), _RUN),
  **dict.fromkeys(("plugin", "compilation_cache_dir"), _RUN),
  **dict.fromkeys(("dataset", "data_dir"), _DATA),
}


class _Option(NamedTuple):
  """An option of a configuration.

  Attributes:
    configs: how many configurations have it.
    defaults: its value in these, and the kinds of run that have that value.
    help: what it does, in the first of them.
  """

  configs: int
  defaults: dict[str, str]
  help: str


def show(unused: Collection[str] = ()) -> None:
  """Prints the script's docstring and its flags, by the flags that are set.

  Args:
    unused: flags that the script refuses.
  """
  width = min(max(shutil.get_terminal_size().columns, 60), 100)
  paragraphs = [_docstring()]
  space = flags.FLAGS.space if "space" in flags.FLAGS else None
  space = space or _saved.space()  # that of --config
  starts = list(_flags.starts(space))
  if starts:
    told = _told_of_defaults([name for name, _ in starts])
    paragraphs.append(textwrap.fill(told, width))
  groups: dict[str, list[str]] = {title: [] for title in _GROUPS}
  for name, default, text in _shown(starts):
    if name not in unused:
      groups[_place(name)] += _lines(name, default, text, width)
  for title, lines in groups.items():
    if lines:
      paragraphs.append("\n".join([f"{title}:", *lines]))
  _terminal.answer("\n\n".join(paragraphs))


def _docstring() -> str:
  """That of the script, with its examples as the script was called."""
  text = (sys.modules["__main__"].__doc__ or "").strip()
  script = pathlib.Path(sys.argv[0]).stem
  plain = f"python -m experiments.{script}"
  return text.replace(plain, " ".join(_commands.called(script)))


def _shown(
  starts: Sequence[tuple[str, config_lib.AnyConfig]],
) -> Iterator[tuple[str, str, str]]:
  """The flags that do something, with their defaults and what they do."""
  options = _options(starts)
  several = len({name for name, _ in starts}) > 1
  for flag in own_flags():
    option, part = options.get(flag.name), _flags.part_of(flag.name)
    if not starts or not part:
      # What absl adds to the help of a flag that may be given more than once.
      text = (flag.help or "").partition(";\n    repeat this")[0]
      yield flag.name, _text(flag.default), text
    # Of one space alone all its options are told.
    elif option and not several:
      yield flag.name, _joined(option.defaults), option.help
    # Of several spaces no more than what all of them have.
    elif option and option.configs == len(starts) and part not in _OF_SPACE:
      same = len(option.defaults) == 1
      default = _joined(option.defaults) if same else ""
      yield flag.name, default, option.help


def _options(
  starts: Iterable[tuple[str, config_lib.AnyConfig]],
) -> dict[str, _Option]:
  """The options of configurations by flag, without those that do nothing."""
  found: dict[str, _Option] = {}
  for space, config in starts:
    searched = isinstance(config, config_lib.SearchConfig)
    kind = "search" if searched else "training"
    for name, option in options_lib.of(config, space).items():
      text = _text(option.get(config))
      known = found.get(name, _Option(0, {}, option.field.metadata["help"]))
      kinds = {**known.defaults, text: kind}
      found[name] = _Option(known.configs + 1, kinds, known.help)
  return found


def own_flags() -> list[flags.Flag[Any]]:
  """The flags that modules of `experiments` define, no library's."""
  own: list[flags.Flag[Any]] = []
  for module, defined in flags.FLAGS.flags_by_module_dict().items():
    # absl names the module that is run by the path of its file.
    if module.startswith("experiments.") or module == sys.argv[0]:
      own += defined
  first = list(_PLACES)
  # After all that have a place.
  place = lambda flag: first.index(flag.name) if flag.name in first else 99
  return sorted(own, key=place)


def _place(name: str) -> str:
  part = _flags.part_of(name)
  if not part:
    return _PLACES.get(name, _SCRIPT)
  if name.startswith(_flags.LAST_STEP):
    return _LAST
  # Every part of a configuration stands in one of the groups.
  return next(title for title, parts in _GROUPS.items() if part in parts)


def _told_of_defaults(spaces: Sequence[str]) -> str:
  names = tuple(dict.fromkeys(spaces))
  start = f"--preset={flags.FLAGS.preset}"
  if _saved.read():
    start = f"--config={flags.FLAGS.config}"
  told = f"Defaults are those of {start}."
  if len(names) > 1:
    told += (
      " More options depend on the space; to see them, add"
      f" --space={', '.join(names[:-1])} or {names[-1]}."
    )
  return told


def _joined(defaults: Mapping[str, str]) -> str:
  """One value; of a search and of a training both, where they differ."""
  if len(defaults) == 1:
    return next(iter(defaults))
  return " or ".join(f"{text} ({kind})" for text, kind in defaults.items())


def _text(value: Any) -> str:
  """A value as one types it."""
  return options_lib.typed(value).replace(str(pathlib.Path.home()), "~")


def _lines(name: str, default: str, text: str, width: int) -> Sequence[str]:
  """A flag as it is typed, with its default, and what it does."""
  head = f"  --{name}" + (f"={default}" if default else "")
  lines = textwrap.wrap(text, width - _NAME, break_on_hyphens=False) or [""]
  if len(head) < _NAME - 1:
    head, lines = f"{head:{_NAME}}{lines[0]}", lines[1:]
  return [head, *(" " * _NAME + line for line in lines)]
