"""What every script is run by: plugins, the compilation cache, exit status."""

import errno
import importlib
import importlib.metadata
import itertools
import pathlib
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

import jax
from absl import app, flags, logging

from enas_jax import files, types
from enas_jax.search import hosts, loop, patience
from experiments import _commands, _completion, _help, _multihost

# A full disk, and folders that nothing can be written to.
_UNWRITABLE = (
  *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
  *(errno.EIO, errno.EFBIG),
)


def import_plugins() -> None:
  """Imports the modules of `--plugin`, which register what is theirs.

  Spaces, strategies and tasks decide which flags there are, so they must be
  known before flags are read. Installed packages name such modules as entry
  points of the group "enas_jax.plugins".
  """
  # For absl and --help: the values are read below, before absl parses.
  flags.DEFINE_multi_string(
    "plugin",
    [],
    "a Python module that registers a space, a strategy, a task or a logger;"
    " may be given more than once",
  )
  for entry in importlib.metadata.entry_points(group="enas_jax.plugins"):
    try:
      entry.load()
    # The module is missing, or what the entry names in it.
    except (ImportError, AttributeError) as error:
      package = entry.dist.name if entry.dist else "an installed package"
      _fail(f"{package}'s plugin {entry.name} cannot be loaded: {error}.")
  for name in _asked_plugins(sys.argv[1:]):
    try:
      importlib.import_module(name)
    except ImportError as error:
      _fail(f"--plugin={name} cannot be imported: {error}.")


def _asked_plugins(arguments: Sequence[str]) -> list[str]:
  """The values of `--plugin`, before absl knows which flags there are."""
  names = []
  for argument, following in itertools.zip_longest(arguments, arguments[1:]):
    flag, has_value, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and flag == "plugin":
      # --plugin=NAME, or --plugin NAME.
      names.append(value if has_value else following or "")
  return [name for name in names if name]


def define_cache_flag() -> None:
  """`--compilation_cache_dir`."""
  flags.DEFINE_string(
    "compilation_cache_dir",
    str(pathlib.Path.home() / ".cache" / "enas_jax"),
    "keeps compiled programs between runs; empty keeps none",
  )


def enable_compilation_cache() -> None:
  """Keeps compiled programs on disk, so that a second run starts at once."""
  folder = flags.FLAGS.compilation_cache_dir
  if folder:
    jax.config.update("jax_compilation_cache_dir", str(files.expand(folder)))
    # JAX would keep only what takes a second to compile; a start has many that
    # take less.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # any


def run(main: Callable[[], None], unused: Collection[str] = ()) -> NoReturn:
  """Parses the flags, runs `main` and exits with a status that says how it was.

  0 done; 2 bad input, with one line on stderr; 128 + n after signal n; 1 for
  anything else.

  Args:
    main: what is to be done.
    unused: flags that `main` refuses, which `--help` leaves out.
  """
  # A shell asks what may follow: flags are defined, and nothing is run.
  if (begun := _commands.begun()) is not None:
    _completion.show(begun, _completion.of_flags(_help.own_flags(), begun))
    sys.exit(0)
  # The libraries' own notes are not the user's concern.
  logging.set_verbosity(logging.WARNING)

  helps = any(word in _help.WORDS for word in sys.argv[1:])

  def parse(argv: Sequence[str]) -> list[str]:
    try:
      # Without the words that ask for help: absl would answer them itself.
      rest = flags.FLAGS([word for word in argv if word not in _help.WORDS])
    except flags.Error as error:
      # It repeats the value, which may be long.
      line = " ".join(str(error).split())
      _fail(line if len(line) <= 500 else f"{line[:496]} ...")
    # The first one is the script.
    if len(rest) > 1:
      _fail(f"unexpected argument {rest[1]!r}; flags begin with --.")
    return rest

  def work() -> None:
    if helps:
      _help.show(unused)
    else:
      _multihost.join()
      main()

  def guarded(argv: Sequence[str]) -> int:
    del argv
    status = _run_guarded(work)
    hosts.part()
    return status

  app.run(guarded, flags_parser=parse)
  # It ends by `sys.exit`, which a type checker cannot know.
  raise AssertionError("app.run returned")


def _run_guarded(work: Callable[[], None]) -> int:
  """Works; returns the exit status, having said what went wrong."""
  try:
    work()
    return 0
  except types.InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return _multihost.end(error, 2)
  except loop.Interrupted as stopped:
    command = _commands.to_resume(flags.FLAGS.workdir)
    if hosts.is_first():
      print(f"{stopped}; go on with: {command}", file=sys.stderr)
    status = 128 + stopped.signum
    if patience.has_left_work():
      # Python would wait for the compiler, or end under its feet.
      hosts.leave(status)
    return status
  except loop.Diverged as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except Exception as error:
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
      where = f"{error.filename}: " if error.filename else ""
      print(
        f"error: {where}{error.strerror}; make room or the folder writable,"
        " then go on with --resume: what was saved before is kept.",
        file=sys.stderr,
      )
    elif hosts.is_lost(error):
      print(
        "error: another process of this run has ended or cannot be reached"
        f" ({files.shown(error)}); what was saved before is kept: start all of"
        " them again with --resume.",
        file=sys.stderr,
      )
    elif hosts.count() == 1:
      raise
    else:
      traceback.print_exc()  # `end` leaves at once
    return _multihost.end(error, 1)


def _fail(message: str) -> NoReturn:
  print(f"error: {message}", file=sys.stderr)
  sys.exit(2)
