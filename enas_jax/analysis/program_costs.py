"""What a program costs on a chip that is not there: a roofline, and counts.

XLA's own analysis counts the body of a loop once, however often it runs, so the
work is read off the traced program, in which every scan says its length.

A matrix product, a convolution, a reduction, a window, a gather or a scatter
reads its operands from memory and writes its results there; all other
operations are taken as fused into these, and free. Of a conditional the mean of
its branches counts, as in a step on uniform architectures. So the seconds are a
lower bound: loops, conditionals and padding to a chip's tiles cost nothing.
"""

import collections
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from enas_jax.nn import programs

# Operations that meet memory, by how they meet it.
_WHOLE = ("dot_general", "conv_general_dilated", "sort", "top_k", "cumsum")
_READING = ("gather", "dynamic_slice")
_WRITING = ("scatter", "dynamic_update_slice")
_COLLECTIVES = (
  *("all-reduce", "all-gather", "all-to-all", "reduce-scatter"),
  "collective-permute",
)
# One that is asynchronous has a start and a done, of which the first counts.
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(_COLLECTIVES)})(?:-start)?\(")
# Bits and lengths; "pred" names no bits, and takes a byte.
_SHAPE = re.compile(r"\b[a-z]+(\d*)[a-z0-9]*\[([0-9,]*)\]")


class Work(NamedTuple):
  """What one operation does.

  Attributes:
    multiply_adds: of a matrix product or a convolution, else 0.
    num_bytes: bytes read from memory and written to it.
  """

  multiply_adds: int
  num_bytes: int


class Costs:
  """The work of a program.

  Attributes:
    times: by operation, how often it runs; a fraction in a conditional.
  """

  def __init__(self, program: programs.Program) -> None:
    """Adds up the operations of a traced program."""
    self.times: collections.Counter[Work] = collections.Counter()
    for work, times in _walk(program, 1.0):
      # A counter of floats: its arithmetic is that of its values.
      self.times[work] += times  # type: ignore[assignment]

  @property
  def multiply_adds(self) -> float:
    """All multiply-adds."""
    return sum(w.multiply_adds * times for w, times in self.times.items())

  @property
  def num_bytes(self) -> float:
    """All bytes that are read or written."""
    return sum(w.num_bytes * times for w, times in self.times.items())

  def seconds(self, flops: float, bandwidth: float) -> float:
    """A lower bound on the time of the program, each operation at its peak.

    Args:
      flops: floating-point operations a second; a multiply-add is two.
      bandwidth: bytes a second.
    """
    return sum(
      times * max(2 * work.multiply_adds / flops, work.num_bytes / bandwidth)
      for work, times in self.times.items()
    )


def _walk(
  program: programs.Program, times: float
) -> Iterator[tuple[Work, float]]:
  """Every operation that counts, and how often it runs."""
  for eqn in programs.operations(program):
    if num_bytes := _bytes_of(eqn):
      yield Work(programs.multiply_adds(eqn), num_bytes), times
    elif eqn.primitive.name == "cond":
      branches = eqn.params["branches"]
      for branch in branches:
        yield from _walk(branch, times / len(branches))
    else:
      for inner in programs.inside(eqn):
        yield from _walk(inner, times * programs.repetitions(eqn))


def _bytes_of(eqn: Any) -> int:
  """Bytes that an operation reads and writes; 0 of one that is fused."""
  name = eqn.primitive.name
  ins = [programs.num_bytes(var.aval) for var in eqn.invars]
  outs = sum(programs.num_bytes(var.aval) for var in eqn.outvars)
  if name in _WHOLE or name.startswith(("reduce", "argm", "select_and_")):
    return sum(ins) + outs
  if name in _READING:
    return 2 * outs  # a part of the operand
  if name.startswith(_WRITING):
    # The operands are (array, update, ...) and (array, indices, updates).
    updates = ins[1] if name == "dynamic_update_slice" else ins[2]
    return 3 * updates  # a part is read, and written in place
  return 0


class Counts(NamedTuple):
  """What stands in a compiled program.

  Attributes:
    conditionals: conditionals, each counted once.
    collectives: operations between chips.
    all_reduced_bytes: the size of what is summed over chips.
  """

  conditionals: int
  collectives: int
  all_reduced_bytes: int


def count_compiled(text: str) -> Counts:
  """Counts in the text of a program as XLA has compiled it (HLO)."""
  found = _COLLECTIVE.findall(text)
  reduced = sum(
    _shape_bytes(shape) for shape, name in found if name == "all-reduce"
  )
  conditionals = len(re.findall(r"\bconditional\(", text))
  return Counts(conditionals, len(found), reduced)


def count_lowered(text: str) -> Counts:
  """Counts in the text of a program before XLA compiles it (StableHLO).

  A function that is called several times counts once here, and as often as it
  is called once it is compiled.
  """
  conditionals = len(re.findall(r'stablehlo\.(?:case|if)"?\(', text))
  names = "|".join(name.replace("-", "_") for name in _COLLECTIVES)
  # Sizes are not read here: one chip alone has nothing to sum.
  return Counts(
    conditionals, len(re.findall(rf"stablehlo\.({names})\b", text)), 0
  )


def _shape_bytes(text: str) -> int:
  """The bytes of the arrays in a shape, e.g. "(f32[8,2]{1,0}, bf16[3])"."""
  total = 0
  for bits, shape in _SHAPE.findall(text):
    size = 1
    for length in filter(None, shape.split(",")):
      size *= int(length)
    total += size * max(1, int(bits or 8) // 8)
  return total
