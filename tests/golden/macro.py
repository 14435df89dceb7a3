"""The cases of the macro search graph of the authors' CIFAR-10 code.

The release's own search graph ignores which operation is sampled; the vectors
come from the one that was meant (`macro_child_search`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.released import macro as released_macro
from enas_jax.released import tables
from enas_jax.spaces import decisions, registry
from enas_jax.spaces.macro import arc as space_lib
from enas_jax.spaces.macro import network as supergraph
from enas_jax.spaces.macro import presets as macro_presets
from tests import children
from tests.golden import steps
from tests.golden import vectors as vectors_lib

# Of the whole gradient's norm. The release's noise reaches 1e-6, and its
# smallest gradient proper is 1e-3.
_NOISE = 1e-5


@dataclasses.dataclass(frozen=True)
class _Case:
  """What is computed of an architecture, traced or of Python ints.

  Weights and statistics are arguments of what is compiled: XLA would fold
  constants.
  """

  config: macro_presets.MacroConfig
  omega: types.Omega
  statistics: types.Statistics
  images: types.Array
  labels: types.Array

  def forward(
    self,
    omega: types.Omega,
    statistics: types.Statistics,
    arc: space_lib.MacroArc,
  ) -> dict[str, types.Array]:
    """Both modes, from the statistics of the file."""
    trained, _ = self._run(omega, statistics, arc, train=True)
    evaluated, _ = self._run(omega, statistics, arc, train=False)
    return {
      "logits_eval": evaluated,
      "logits_train": trained,
      "loss_train": self._loss(trained),
    }

  def train(
    self,
    omega: types.Omega,
    statistics: types.Statistics,
    arc: space_lib.MacroArc,
    images: types.Array | None = None,
  ) -> tuple[types.Omega, types.Statistics]:
    """The gradient of the plain cross-entropy, and the moved statistics."""

    def loss(omega: types.Omega) -> tuple[types.Array, Any]:
      run = self._run(omega, statistics, arc, train=True, images=images)
      return self._loss(run[0]), run[1]

    return jax.grad(loss, has_aux=True)(omega)

  def _run(
    self,
    omega: types.Omega,
    statistics: types.Statistics,
    arc: space_lib.MacroArc,
    *,
    train: bool,
    images: types.Array | None = None,
  ) -> tuple[types.Array, types.Statistics]:
    images = self.images if images is None else images
    return children.run_macro(
      omega, statistics, arc, images, config=self.config, train=train
    )

  def _loss(self, logits: types.Array) -> types.Array:
    log_probs = jax.nn.log_softmax(logits)
    gold = jnp.take_along_axis(log_probs, self.labels[:, None], axis=1)
    return -jnp.mean(gold)


def check_search(checks: vectors_lib.Checks) -> None:
  """Children of the search graph: outputs, statistics and gradient."""
  case = _case(checks.vectors)
  main, grads = checks.vectors.main, checks.vectors.grads
  arcs = _arcs(case.config.space(), main, "arcs")
  given = (case.omega, case.statistics)
  forward = vectors_lib.compiled(case.forward)
  found = [forward(*given, decisions.as_arrays(arc)) for arc in arcs]
  checks.outputs(_stacked(found))
  # The same code with an architecture compiled in.
  static = len(arcs) - 1
  if grads is not None:
    arc = _arcs(case.config.space(), grads, "arc")[0]
    static = arcs.index(arc) if arc in arcs else static
    _check_training(checks, case, arc)
  fixed = vectors_lib.compiled(
    lambda omega, moving: case.forward(omega, moving, arcs[static])
  )
  checks.outputs(_stacked([fixed(*given)]), arcs=[static])


def _check_training(
  checks: vectors_lib.Checks, case: _Case, arc: space_lib.MacroArc
) -> None:
  """The gradient, and the statistics after one training forward and two."""
  main, grads = checks.vectors.main, checks.vectors.grads
  assert grads is not None
  if "arc_index" in grads:
    grads.take("arc_index")  # says again what `arc` says
  fixed = vectors_lib.compiled(
    lambda omega, moving: case.train(omega, moving, arc)[0]
  )
  exact = steps.Exact(
    lambda given: case.train(*given[:2], arc, given[2])[0],
    (case.omega, case.statistics, case.images),
    lambda grad: tables.write(grad, released_macro.SEARCH, case.config),
  )
  compare = functools.partial(_compare_grads, checks, case, exact)
  compare(fixed(case.omega, case.statistics), "static/")

  train = vectors_lib.compiled(case.train)
  traced = decisions.as_arrays(arc)
  grad, statistics = train(case.omega, case.statistics, traced, case.images)
  compare(grad)
  _compare_statistics(checks, case, statistics, "after/")
  if "images2" in main:
    images = _images(checks.vectors, "images2")
    _, statistics = train(case.omega, statistics, traced, images)
    _compare_statistics(checks, case, statistics, "after2/")


def _compare_grads(
  checks: vectors_lib.Checks,
  case: _Case,
  exact: steps.Exact,
  grad: types.Omega,
  label: str = "",
) -> None:
  assert checks.vectors.grads is not None
  named = tables.write(grad, released_macro.SEARCH, case.config)
  group = _Rounded(checks.vectors.grads)
  steps.compare(checks, named, exact, label, group)


def _compare_statistics(
  checks: vectors_lib.Checks,
  case: _Case,
  statistics: types.Statistics,
  prefix: str,
) -> None:
  named = tables.write(statistics, released_macro.SEARCH, case.config)
  checks.statistics({prefix + name: array for name, array in named.items()})


class _Rounded(vectors_lib.Arrays):
  """Gradients with those that are nothing but rounding taken for zeros.

  A batch norm right after another, with only sums between, undoes the first
  one's offset: its gradient is 0, and what the release has there is float32
  noise, to whose norm no error can be related. Ours is held to 0 there, so a
  gradient that is small but no noise would be told apart.
  """

  def __init__(self, group: vectors_lib.Arrays) -> None:
    self.file = group.file
    self._group = group

  def take_all(self, prefix: str) -> dict[str, np.ndarray]:
    arrays = self._group.take_all(prefix)
    norms = {name: np.linalg.norm(array) for name, array in arrays.items()}
    least = _NOISE * np.linalg.norm(list(norms.values()))
    return {
      name: array if norms[name] > least else np.zeros_like(array)
      for name, array in arrays.items()
    }


def _stacked(found: list[dict[str, Any]]) -> dict[str, np.ndarray]:
  """One array an output, its first axis the architecture."""
  return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _case(vectors: vectors_lib.Vectors) -> _Case:
  """The released search graph with the case's numbers and weights."""
  if vectors.case.endswith("_asis"):
    raise types.InputError(
      f"{vectors.stem}.json: the case {vectors.case!r} is of the graph that"
      " ignores which operation is sampled; ours does not."
    )
  _expect_number(vectors, "keep_prob", 1, "as dropout is random")
  branches = len(space_lib.RELEASED_OPS)
  _expect_number(vectors, "num_branches", branches, "one for each operation")
  config = dataclasses.replace(
    registry.preset("released", "macro").child,
    num_layers=vectors.integer("num_layers"),
    num_filters=vectors.integer("out_filters"),
    drop_features=0.0,
  )
  variables = vectors.main.take_all("var/")
  images = _images(vectors, "images")
  labels = vectors.main.take("labels")
  classes = variables["child/fc/w"].shape[-1]
  graph = released_macro.SEARCH
  omega = tables.read(variables, graph, config)
  if (
    labels.shape != images.shape[:1]
    or not np.isin(labels, np.arange(classes)).all()
  ):
    raise types.InputError(
      f"{vectors.main.file}: labels must be one class in [0, {classes}) for"
      " each image."
    )
  return _Case(
    config=config,
    omega=omega,
    statistics=tables.read(
      variables, graph, config, supergraph.init_statistics(config)
    ),
    images=images,
    labels=jnp.asarray(labels, jnp.int32),
  )


def _expect_number(
  vectors: vectors_lib.Vectors, name: str, value: float, reason: str
) -> None:
  if vectors.number(name, value) != value:
    raise types.InputError(
      f"{vectors.stem}.json: config.{name} must be {value}, {reason}, got"
      f" {vectors.number(name)}."
    )


def _images(vectors: vectors_lib.Vectors, name: str) -> types.Array:
  images = vectors.main.take(name)
  channels = vectors.main.take("var/child/stem_conv/w").shape[-2]
  if images.ndim != 4 or not images.size or images.shape[-1] != channels:
    raise types.InputError(
      f"{vectors.main.file}: {name} must have the shape [B, H, W, {channels}],"
      f" got {list(images.shape)}."
    )
  return jnp.asarray(images, jnp.float32)


def _arcs(
  space: space_lib.MacroSpace, group: vectors_lib.Arrays, name: str
) -> list[space_lib.MacroArc]:
  """Architectures of Python ints, from one row of tokens or several."""
  tokens = group.take(name)
  if not np.issubdtype(tokens.dtype, np.integer):
    raise types.InputError(f"{group.file}: {name} must be integers.")
  rows = np.atleast_2d(tokens)
  if rows.ndim != 2 or not len(rows):
    raise types.InputError(f"{group.file}: {name} must be rows of tokens.")
  return [space.from_tokens(" ".join(map(str, row))) for row in rows]
