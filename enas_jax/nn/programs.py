"""Traced programs: what is inside an operation, and its multiply-adds."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core

Program = core.Jaxpr | core.ClosedJaxpr


def operations(program: Program) -> list[core.JaxprEqn]:
  """The operations of a program, in order."""
  return getattr(program, "jaxpr", program).eqns


def inside(eqn: core.JaxprEqn) -> Iterator[Program]:
  """The programs that an operation runs: a loop's body, a function's.

  The branches of a conditional are not among them, since one of them runs.
  """
  for value in eqn.params.values():
    if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
      yield value


def repetitions(eqn: core.JaxprEqn) -> int:
  """How often it runs what is `inside`: 1 where that is not known."""
  if eqn.primitive.name == "shard_map":
    return eqn.params["mesh"].size  # on each device, of its part
  return eqn.params["length"] if eqn.primitive.name == "scan" else 1


def size(program: Program) -> int:
  """Operations of a program and of all inside them, of each branch, too."""
  count = 0
  for eqn in operations(program):
    branches = eqn.params.get("branches", ())
    count += 1 + sum(map(size, (*inside(eqn), *branches)))
  return count


def multiply_adds(eqn: core.JaxprEqn) -> int:
  """Those of a matrix product or a convolution; 0 of other operations.

  Padding counts as if it were image.
  """
  name = eqn.primitive.name
  if name not in ("dot_general", "conv_general_dilated"):
    return 0
  inputs: list[Any] = [var.aval for var in eqn.invars]
  out: Any = eqn.outvars[0].aval
  if name == "dot_general":
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = inputs[0].shape
    return out.size * math.prod(shape[axis] for axis in contracted)
  kernel = inputs[1].shape
  # A grouped convolution's kernel has the input channels of one group alone.
  # `rhs_spec`: the axes of output channels, of input channels, of space.
  channels_out = eqn.params["dimension_numbers"].rhs_spec[0]
  return out.size * (math.prod(kernel) // kernel[channels_out])


def num_bytes(array: Any) -> int:
  """The bytes of what has a size and a dtype."""
  return array.size * array.dtype.itemsize
