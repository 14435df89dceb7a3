"""How far roundings alone move a gradient, and through which steps.

  python -m tests.golden.rounding --draws=8

Draws architectures, weights and images like those of `micro_child_fixed_aux`.
Compares the gradient in float32, for inputs moved by a few roundings, with that
in float64 by the norm of each tensor, as the checker compares ours with the
release's. Then float64 takes the sides that float32 took at every ReLU and max
pool: what is left is no step. `--chain` takes the case's own first architecture
instead, whose nodes are separable convolutions one after the other.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.released import micro as released_micro
from enas_jax.released import tables
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import final_network
from tests.golden import micro, steps
from tests.golden import vectors as vectors_lib

_CASE = pathlib.Path(__file__).parent / "micro_child_fixed_aux.npz"
_BATCH, _SIZE, _CLASSES = 4, 32, 10


class Draw(NamedTuple):
  """One architecture with weights, and its gradient by the release's names."""

  step: Any
  inputs: Any
  write: Any


def draw(vectors: vectors_lib.Vectors, seed: int, chain: bool) -> Draw:
  """Draws inputs as the case has them."""
  config = micro.config_of(vectors)
  rng = np.random.default_rng(seed)
  if chain:
    main = vectors.main
    arc = micro.arcs_of(config.space(), main, "normal_arcs", "reduce_arcs")[0]
  else:
    arc = _uniform(config.space(), seed)
  network = final_network.network(arc)
  shape = (_SIZE, _SIZE, 3)
  omega = network.init(jax.random.key(seed), config, _CLASSES, shape)
  omega = jax.tree_util.tree_map_with_path(
    lambda path, leaf: _start(rng, path[-1].key, np.asarray(leaf)), omega
  )
  images = rng.normal(size=(_BATCH, *shape)).astype(np.float32)
  labels = jnp.asarray(rng.integers(_CLASSES, size=_BATCH), jnp.int32)
  run = micro.Run(config, network, jnp.asarray(images), labels)
  return Draw(
    lambda given: run.step(*given[:2], arc, given[2])[2],
    (omega, network.init_statistics(config), images),
    lambda tree: tables.write(tree, released_micro.fixed(arc), config),
  )


def _uniform(space: space_lib.MicroSpace, seed: int) -> space_lib.MicroArc:
  arcs = space.sample_uniform(jax.random.key(seed), 1)
  return space.validate(jax.tree.map(lambda leaf: leaf[0], arcs))


def _start(
  rng: np.random.Generator, name: str, leaf: np.ndarray
) -> types.Array:
  """The case's batch norms are no identities."""
  if name == "scale":
    leaf = rng.uniform(0.5, 1.5, leaf.shape)
  elif name == "offset":
    leaf = rng.normal(0.0, 0.3, leaf.shape)
  return leaf.astype(np.float32)


def gradient(
  drawn: Draw, inputs: Any, flips: list[types.Array] | None = None
) -> tuple[dict[str, np.ndarray], list[steps.Step]]:
  """The gradient by name and the steps on the way, run op by op.

  A program for each architecture would be compiled for minutes.
  """
  wide = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(inputs))
  with jax.enable_x64(wide):
    inputs = jax.tree.map(jnp.asarray, inputs)
    out, taken = steps.decided(drawn.step, inputs, flips)
    named = drawn.write(jax.tree.map(np.asarray, out))
    return named, [steps.Step(*map(np.asarray, step)) for step in taken]


def report(drawn: Draw) -> str:
  """What roundings do to one draw, in one line."""
  wide = jax.tree.map(steps.widened, drawn.inputs)
  rng = np.random.default_rng(0)
  moved = jax.tree.map(
    lambda wide, narrow: steps.moved(rng, wide).astype(narrow.dtype),
    wide,
    drawn.inputs,
  )
  exact, exact_steps = gradient(drawn, wide)
  rounded, rounded_steps = gradient(drawn, moved)
  flips = [
    mine.sides != theirs.sides
    for mine, theirs in zip(exact_steps, rounded_steps, strict=True)
  ]
  imposed, _ = gradient(drawn, wide, flips)
  crossed = {"ReLUs": 0, "max pools": 0}
  for step, flip in zip(exact_steps, flips, strict=True):
    kind = "ReLUs" if step.sides.dtype == bool else "max pools"
    crossed[kind] += int(np.sum(flip))
  counts = ", ".join(f"{count} {kind}" for kind, count in crossed.items())
  return (
    f"{len(exact)} tensors; {_beyond(rounded, exact)}; crossed: {counts};"
    f" with these sides {_beyond(rounded, imposed)}"
  )


def _beyond(ours: dict[str, np.ndarray], golden: dict[str, np.ndarray]) -> str:
  norms, limit = vectors_lib.norms(golden), vectors_lib.GRADIENT_TOLERANCE
  errors = [
    np.linalg.norm(ours[name] - array) / norms[name]
    for name, array in golden.items()
  ]
  beyond = sum(error > limit for error in errors)
  return f"{beyond} beyond {limit:.0e}, the largest {max(errors):.1e}"


def main(argv: Sequence[str] | None = None) -> None:
  """Prints a line for each draw."""
  parser = argparse.ArgumentParser(
    prog="python -m tests.golden.rounding",
    description="How far roundings alone move a gradient.",
  )
  parser.add_argument("--draws", type=int, default=8)
  parser.add_argument("--first", type=int, default=0, help="seed of the first")
  parser.add_argument("--chain", action="store_true")
  arguments = parser.parse_args(argv)
  vectors = vectors_lib.read(_CASE)
  for seed in range(arguments.first, arguments.first + arguments.draws):
    drawn = draw(vectors, seed, arguments.chain)
    print(f"seed {seed}: {report(drawn)}", flush=True)


if __name__ == "__main__":
  main()
