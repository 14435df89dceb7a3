"""Reading files and text that may hold anything.

There is one reader for each kind of file, and each has bounds: a file that is
no regular one, larger than expected, or not what it should be raises
`types.InputError` with one line. Nothing here runs code from a file.
"""

import errno
import json
import math
import os
import pathlib
import pickletools
import re
import stat
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from enas_jax import types

_MEGABYTE = 1_000_000
MOST_JSON = 256 * _MEGABYTE  # bytes; the metrics of long runs are the largest
MOST_TEXT = 4_000 * _MEGABYTE
MOST_BYTES = 1_000 * _MEGABYTE
MOST_ARRAYS = 64_000 * _MEGABYTE  # of an archive, unpacked
_MOST_DEPTH = 64  # of JSON in JSON
# Ours are below 2^63; a larger one would be no number of NumPy.
_MOST_DIGITS = 19
# A text may lack its end: else every quote in it would be tried as a beginning.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
  """A path whose leading `~` or `~user` is replaced.

  Raises:
    InputError: if there is no such user's home, or it cannot be a path.
  """
  text = os.fspath(path)
  whole = os.path.expanduser(text)
  if whole.startswith("~"):
    # Otherwise a folder with that very name would be made.
    name = whole.split("/")[0]
    raise types.InputError(
      f"{shown(text)}: there is no home folder {shown(name)}; give the whole"
      f" path, or ./{shown(name)} if that is a folder's name."
    )
  try:
    whole.encode("utf-8")
  except UnicodeEncodeError:
    raise types.InputError(
      f"the path {shown(text)} is not UTF-8; rename it, or give another one."
    ) from None
  if "\0" in whole:
    raise types.InputError(f"the path {shown(text)} holds a zero byte.")
  return pathlib.Path(whole)


def shown(text: object) -> str:
  """Text of unknown origin on one line that can be printed, cut short."""
  line = " ".join(str(text)[:400].split())
  line = line.encode("utf-8", "backslashreplace").decode("utf-8")
  line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
  return line if len(line) <= 200 else f"{line[:196]} ..."


def exists(path: pathlib.Path) -> bool:
  """Whether there is something; a name that cannot be looked for is nothing."""
  return os.path.exists(path)


def read_bytes(
  path: pathlib.Path, most: int = MOST_BYTES, advice: str = ""
) -> bytes:
  """The content of a regular file.

  Args:
    path: the file.
    most: bytes that it may have.
    advice: the end of the message: what to do if it cannot be read.

  Raises:
    InputError: if it cannot be read, or has more bytes.
  """
  try:
    mode = os.stat(path).st_mode
    # A pipe would be waited for, a device may have no end.
    if stat.S_ISDIR(mode):
      raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
      raise unreadable(path, "it is not a regular file", advice)
    with open(path, "rb") as file:
      content = file.read(most + 1)
  except (OSError, ValueError) as error:
    if isinstance(error, types.InputError):
      raise
    raise unreadable(path, getattr(error, "strerror", None), advice) from None
  except MemoryError:
    raise unreadable(path, "it does not fit in memory", advice) from None
  if len(content) > most:
    raise unreadable(path, f"it has more than {most:,} bytes", advice)
  return content


def read_text(
  path: pathlib.Path, most: int = MOST_TEXT, advice: str = ""
) -> str:
  """The text of a UTF-8 file without its byte order mark, line ends as stored.

  Args:
    path: the file; one whose name ends in .gz is unpacked.
    most: bytes that it may have, unpacked.
    advice: the end of the message: what to do if it cannot be read.

  Raises:
    InputError: if it cannot be read, is larger, or is not UTF-8.
  """
  content = read_bytes(path, most, advice)
  if path.suffix == ".gz":
    content = _unpack(path, content, most, advice)
  try:
    return content.decode("utf-8").removeprefix("\ufeff")
  except UnicodeDecodeError as error:
    why = f"it is not UTF-8: invalid bytes at byte {error.start}"
    raise unreadable(path, why, advice) from None


def _unpack(
  path: pathlib.Path, content: bytes, most: int, advice: str
) -> bytes:
  """The content of gzip's members, bounded: a small file may hold gigabytes."""
  parts, size = [], 0
  try:
    while content:
      unpacker = zlib.decompressobj(wbits=31)
      # One more than is allowed, by which it shows; and 0 would be no bound.
      part = unpacker.decompress(content, most - size + 1)
      size += len(part)
      if size > most:
        why = f"it unpacks to more than {most:,} bytes"
        raise unreadable(path, why, advice)
      if not unpacker.eof:
        raise unreadable(path, "its gzip data end too early", advice)
      parts.append(part)
      content = unpacker.unused_data.lstrip(b"\0")
  except zlib.error as error:
    raise unreadable(
      path, f"its gzip data are damaged ({error})", advice
    ) from None
  return b"".join(parts)


def parse_json(text: str, finite: bool = True) -> Any:
  """The value that JSON text holds.

  Args:
    text: the text.
    finite: whether numbers must be; else NaN and infinity are read, too.

  Raises:
    InputError: if it is no JSON, is nested deeper than 64, or has numbers that
      are not finite or integers of more than 19 digits. The message begins
      with a verb: what stands before it is the caller's.
  """
  depth = 0
  for token in _BRACKETS.finditer(text):
    depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
    if depth > _MOST_DEPTH:
      raise types.InputError(f"is nested deeper than {_MOST_DEPTH}")
  try:
    value = json.loads(
      text,
      parse_int=_integer,
      parse_float=_float if finite else float,
      parse_constant=_constant if finite else float,
      object_pairs_hook=_object,
    )
    # Half of a pair of surrogates, which could not be printed.
    if "\\ud" in text.lower():
      json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value
  except json.JSONDecodeError as error:
    raise types.InputError(f"is not valid JSON: {error}") from None
  except UnicodeEncodeError:
    raise types.InputError("has text that is not Unicode") from None


def _integer(digits: str) -> int:
  if len(digits.lstrip("-")) > _MOST_DIGITS:
    raise types.InputError(
      f"has an integer of more than {_MOST_DIGITS} digits, {digits[:12]}..."
    )
  return int(digits)


def _float(text: str) -> float:
  number = float(text)
  if not math.isfinite(number):
    raise types.InputError(f"has a number that is not finite, {text[:20]}")
  return number


def _constant(name: str) -> float:
  raise types.InputError(f"has {name}, which is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  record = dict(pairs)
  # Python's reader keeps the last of equal names, and says nothing.
  if len(record) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise types.InputError(f"has the field {shown(repr(twice))} twice")
  return record


def read_json(path: pathlib.Path, advice: str = "") -> Any:
  """The value that a JSON file holds; arguments and errors: `read_text`."""
  text = read_text(path, MOST_JSON, advice)
  try:
    return parse_json(text)
  except types.InputError as error:
    raise damaged(path, advice, error) from None


def read_json_lines(
  path: pathlib.Path, advice: str = ""
) -> list[tuple[Any, str]]:
  """The values of a file of JSON lines, and where each stands.

  Arguments and errors: `read_text`. Empty lines are left out.
  """
  values = []
  lines = read_text(path, MOST_JSON, advice).split("\n")
  for number, line in enumerate(lines, start=1):
    place = f"{path}, line {number}"
    if line.strip():
      try:
        values.append((parse_json(line), place))
      except types.InputError as error:
        raise damaged(place, advice, error) from None
  return values


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a NumPy archive, none of which may hold pickled objects.

  Raises:
    InputError: if it cannot be read, or is no such archive.
  """
  try:
    if not stat.S_ISREG(os.stat(path).st_mode):
      raise unreadable(path, "it is not a regular file")
    if _starts_with(path, b"\x93NUMPY"):
      raise types.InputError(
        "it is one array, not an archive: write it with numpy.savez"
      )
    with zipfile.ZipFile(path) as archive:
      for member in archive.infolist():
        _check_member(archive, member)
      unpacked = sum(member.file_size for member in archive.infolist())
      if unpacked > MOST_ARRAYS:
        raise types.InputError(f"it unpacks to more than {MOST_ARRAYS:,} bytes")
    # A pickle may have any code run.
    with np.load(path, allow_pickle=False) as arrays:
      return {key: np.asarray(arrays[key]) for key in arrays.files}
  except OSError as error:
    raise unreadable(path, error.strerror or str(error)) from None
  except zipfile.BadZipFile as error:
    why = f"{error}; write it with numpy.savez"
    raise unreadable(path, why) from None
  # A damaged archive raises nearly anything: errors of zlib, of struct, of
  # Python's own parser, of memory.
  except Exception as error:  # noqa: BLE001
    why = str(error) or type(error).__name__
    raise unreadable(path, why.removesuffix(".")) from None


def read_shape(path: pathlib.Path, name: str) -> tuple[int, ...]:
  """The shape of an array of a NumPy archive; () if that cannot be told."""
  try:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
      shape, _, _ = _read_head(file)
      return shape
  except Exception:  # noqa: BLE001, whoever reads the archive says what it lacks
    return ()


def _starts_with(path: pathlib.Path, magic: bytes) -> bool:
  with open(path, "rb") as file:
    return file.read(len(magic)) == magic


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
  """Raises unless a member holds the array that its head announces.

  NumPy makes room for what is announced before it reads.
  """
  with archive.open(member) as file:
    shape, _, dtype = _read_head(file)
    if dtype.hasobject:
      raise types.InputError(
        f"{member.filename} has Python objects, which are not read; store"
        " numbers"
      )
    size = math.prod(shape) * dtype.itemsize + file.tell()
  if min(shape, default=0) < 0 or size != member.file_size:
    raise types.InputError(
      f"{member.filename} announces an array of {size:,} bytes and has"
      f" {member.file_size:,}"
    )


def _read_head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
  """What an array's head announces: shape, order and type.

  Raises:
    InputError: if it is of a version that has no numbers alone.
  """
  version = np.lib.format.read_magic(file)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise types.InputError(f"{file.name} is of version {version}")
  head: tuple[tuple[int, ...], bool, np.dtype] = read(file)
  return head


def check_pickle(content: bytes) -> None:
  """Raises unless a pickle asks for no more memory than it has bytes.

  What it may build is for the unpickler to say; this comes before, as Python's
  makes room for whatever place a pickle keeps an object at.

  Raises:
    InputError: if a place is too far away, or it is no pickle.
  """
  try:
    for opcode, argument, _ in pickletools.genops(content):
      place = argument if isinstance(argument, int) else 0
      if "PUT" in opcode.name and not 0 <= place <= len(content):
        raise types.InputError(f"it keeps an object at place {place}")
  except types.InputError:
    raise
  # A damaged pickle raises nearly anything.
  except Exception as error:  # noqa: BLE001
    raise types.InputError(f"it is no pickle: {shown(error)}") from None


def unreadable(
  path: object, why: str | None, advice: str = ""
) -> types.InputError:
  """The error that a file cannot be read."""
  end = f"; {advice}" if advice else ""
  return types.InputError(
    f"{shown(path)} cannot be read: {shown(why or 'it is no path')}{end}."
  )


def damaged(
  place: object, advice: str = "", error: types.InputError | None = None
) -> types.InputError:
  """The error that a file holds something else than it should.

  Args:
    place: the file, perhaps with a line in it.
    advice: what to do.
    error: what is wrong, words that "it" may come before; None: it is plain.
  """
  why = f": it {error}" if error else ""
  end = f"; {advice}" if error else f": {advice}"
  return types.InputError(
    f"{shown(place)} is damaged{why}{end if advice else ''}."
  )
