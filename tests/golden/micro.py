"""The cases of `micro_child.py`: its search graph and its fixed graph.

A gradient that disagrees may be that of the other side of a step, of a ReLU or
a max pool. Float64 decides (`steps`).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.released import micro as released_micro
from enas_jax.released import tables
from enas_jax.spaces import base as network
from enas_jax.spaces import decisions, registry
from enas_jax.spaces.micro import arc as space_lib
from enas_jax.spaces.micro import final_network as micro_final
from enas_jax.spaces.micro import network as supergraph
from enas_jax.spaces.micro import presets as micro_presets
from tests.golden import steps
from tests.golden import vectors as vectors_lib

_AUX_WEIGHT = 0.4  # of the auxiliary loss, in `_build_train`
# Outputs of the file and the float64 logits that say what they should be.
_LOGITS = {"logits_train": "logits_train", "aux_logits": "aux_logits"}
# In the search: batch statistics and no dropout, either way.
_SEARCH_LOGITS = {**_LOGITS, "logits_eval": "logits_train"}
_FIXED_LOGITS = {**_LOGITS, "logits_eval": "logits_eval"}
_LOSSES = {"loss_train": "logits_train", "aux_loss": "aux_logits"}


def check_search(checks: vectors_lib.Checks) -> None:
  """Children of the search graph: forward, and the gradient of one."""
  vectors = checks.vectors
  main, grads = vectors.main, vectors.grads
  config = _config(vectors)
  graph = released_micro.SEARCH
  omega = tables.read(main.take_all("var/"), graph, config)
  run = _Run(config, supergraph.NETWORK, *_batch(vectors, omega))
  if vectors.f64 is not None:
    derived = _Derived(vectors.f64, main, run.labels, _SEARCH_LOGITS)
    checks.vectors = dataclasses.replace(vectors, f64=derived)

  arcs = _arcs(config.space(), main, "normal_arcs", "reduce_arcs")
  # With the gradient, so that one program serves all.
  step = vectors_lib.compiled(run.step)
  traced = [decisions.as_arrays(arc) for arc in arcs]
  fresh = supergraph.init_statistics(config)
  found = [step(omega, fresh, arc, run.images)[0] for arc in traced]
  checks.outputs(_stack(found))
  if grads is None:
    return

  static = _arcs(config.space(), grads, "normal_arc", "reduce_arc")[0]
  if "arc_index" in grads:
    grads.take("arc_index")  # says again what the arcs say
  arc = decisions.as_arrays(static)
  named = lambda tree: tables.write(tree, graph, config)
  exact = steps.Exact(
    lambda given: run.step(given[0], fresh, static, given[1])[2],
    (omega, run.images),
    named,
  )
  steps.compare(checks, named(step(omega, fresh, arc, run.images)[2]), exact)
  moved = fresh
  for name, prefix in (("images", "after/"), ("images2", "after2/")):
    if name in main:
      moved = step(omega, moved, arc, jnp.asarray(main.take(name)))[1]
      # The release's forward of these leaves the auxiliary head out.
      checks.outputs(
        {prefix + k: a for k, a in named(moved).items() if "aux_head" not in k}
      )
  # The same code with the architecture compiled in. The form for CPU, which the
  # program above has, takes several times as long to compile here.
  fixed = vectors_lib.compiled(
    lambda omega, images: run.step(omega, fresh, static, images)
  )
  with image_ops.using("plain"):
    outputs, _, gradient = fixed(omega, run.images)
  if static in arcs:
    checks.outputs(_stack([outputs]), arcs=[arcs.index(static)])
  steps.compare(checks, named(gradient), exact, "static/")


def check_fixed(checks: vectors_lib.Checks) -> None:
  """Networks of found cells: forward, and the gradient of one.

  Each has weights of its own, and moving statistics that it is evaluated with.
  """
  vectors = checks.vectors
  main, grads = vectors.main, vectors.grads
  config = _config(vectors)
  arcs = _arcs(config.space(), main, "normal_arcs", "reduce_arcs")
  variables = [main.take_all(f"arc{at}/var/") for at in range(len(arcs))]
  networks = [micro_final.network(arc) for arc in arcs]

  def weights(at: int, variables: dict[str, np.ndarray]) -> Any:
    graph, fresh = released_micro.fixed(arcs[at]), networks[at].init_statistics
    return (
      tables.read(variables, graph, config),
      tables.read(variables, graph, config, fresh(config)),
    )

  images, labels = _batch(vectors, weights(0, variables[0])[0])
  if vectors.f64 is not None:
    derived = _Derived(vectors.f64, main, labels, _FIXED_LOGITS)
    checks.vectors = dataclasses.replace(vectors, f64=derived)
  runs = [_Run(config, network, images, labels) for network in networks]
  # Each is a program of its own; the form for CPU takes four times as long to
  # compile. `image_ops_test` holds the forms equal.
  with image_ops.using("plain"):
    found = []
    for at, arc in enumerate(arcs):
      outputs = vectors_lib.compiled(
        functools.partial(runs[at].outputs, arc=arc, images=images)
      )
      found.append(outputs(*weights(at, variables[at])))
    checks.outputs(_stack(found))
    if grads is None:
      return

    static = _arcs(config.space(), grads, "normal_arc", "reduce_arc")[0]
    at = int(grads.take("arc_index")) if "arc_index" in grads else -1
    if not 0 <= at < len(arcs) or arcs[at] != static:
      raise types.InputError(
        f"{grads.file}: arc_index must say which architecture of {main.file} it"
        " holds."
      )
    step = vectors_lib.compiled(
      functools.partial(runs[at].step, arc=static, images=images)
    )
    write = lambda tree: tables.write(
      tree, released_micro.fixed(static), config
    )
    given = weights(at, variables[at])
    exact = steps.Exact(
      lambda given: runs[at].step(*given[0], static, given[1])[2],
      (given, images),
      write,
    )
    steps.compare(checks, write(step(*given)[2]), exact)


class _Derived(vectors_lib.Arrays):
  """Float64 outputs, and those that follow from them.

  The file holds logits, and names the error of the auxiliary ones otherwise.
  Of the rest nobody can ask for more: the cross-entropy moves by up to twice
  as much as the logits, in the release's arithmetic and in ours.
  """

  def __init__(
    self,
    file: vectors_lib.Arrays,
    main: vectors_lib.Arrays,
    labels: types.Array,
    sources: Mapping[str, str],
  ) -> None:
    self.file, self._file = file.file, file
    self._more: dict[str, np.ndarray] = {}
    for name, source in (*sources.items(), *_LOSSES.items()):
      if name not in main or f"{source}_f64" not in file:
        continue
      exact, error = file.take(f"{source}_f64"), self._error(source)
      if name in _LOSSES:
        exact, error = _cross_entropy(exact, np.asarray(labels)), 2 * error
      self._more |= {f"{name}_f64": exact, f"tf_err_{name}": error}

  def _error(self, source: str) -> np.ndarray:
    short = f"tf_err_{source.removesuffix('_logits')}"
    return self._file.take(short if short in self._file else f"tf_err_{source}")

  def __contains__(self, name: str) -> bool:
    return name in self._more or name in self._file

  def take(self, name: str) -> np.ndarray:
    return self._more[name] if name in self._more else self._file.take(name)

  def left(self) -> list[str]:
    return self._file.left()


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """[S], the batch's mean, of [S, B, classes]."""
  shifted = logits - logits.max(axis=-1, keepdims=True)
  normaliser = np.log(np.exp(shifted).sum(axis=-1))
  gold = np.take_along_axis(shifted, labels[None, :, None], axis=-1)[..., 0]
  return (normaliser - gold).mean(axis=-1)


@dataclasses.dataclass(frozen=True)
class _Run:
  """What is computed of an architecture, traced or of Python ints."""

  config: micro_presets.MicroConfig
  network: network.Network
  images: types.Array
  labels: types.Array

  def outputs(
    self,
    omega: types.Omega,
    statistics: types.Statistics,
    arc: space_lib.MicroArc,
    images: types.Array,
  ) -> dict[str, types.Array]:
    """The outputs of training and of evaluation."""
    found, _ = self._forward(omega, statistics, arc, images)
    logits, _ = self.network.apply_child(
      omega, statistics, arc, images, config=self.config, train=False
    )
    return {**found, "logits_eval": logits.main}

  def step(
    self,
    omega: types.Omega,
    statistics: types.Statistics,
    arc: space_lib.MicroArc,
    images: types.Array,
  ) -> Any:
    """The outputs, by their names in the files; statistics; the gradient."""

    def loss(omega: types.Omega) -> Any:
      outputs, moved = self._forward(omega, statistics, arc, images)
      total = outputs["loss_train"]
      if "aux_loss" in outputs:
        total = total + _AUX_WEIGHT * outputs["aux_loss"]
      return total, (outputs, moved)

    (_, found), grad = jax.value_and_grad(loss, has_aux=True)(omega)
    return *found, grad

  def _forward(
    self,
    omega: types.Omega,
    statistics: types.Statistics,
    arc: space_lib.MicroArc,
    images: types.Array,
  ) -> tuple[dict[str, types.Array], types.Statistics]:
    logits, moved = self.network.apply_child(
      omega, statistics, arc, images, config=self.config, train=True
    )
    outputs = {
      "logits_train": logits.main,
      "logits_eval": logits.main,
      "loss_train": self._nats(logits.main),
    }
    if logits.aux is not None:
      outputs["aux_logits"] = logits.aux
      outputs["aux_loss"] = self._nats(logits.aux)
    return outputs, moved

  def _nats(self, logits: types.Array) -> types.Array:
    gold = jnp.take_along_axis(logits, self.labels[:, None], axis=-1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - gold)


def _config(vectors: vectors_lib.Vectors) -> micro_presets.MicroConfig:
  if vectors.number("keep_prob", 1.0) != 1:
    raise types.InputError(
      f"{vectors.stem}.json: config.keep_prob must be 1, as dropout is random,"
      f" got {vectors.number('keep_prob')}."
    )
  return dataclasses.replace(
    registry.preset("released", "micro").child,
    # The release does not count a cell's inputs.
    num_nodes=vectors.integer("num_cells") + space_lib.NUM_INPUTS,
    num_layers=vectors.integer("num_layers"),
    num_filters=vectors.integer("out_filters"),
    drop_features=0.0,
    moving_statistics=True,
    aux_head=bool(vectors.config.get("use_aux_heads")),
    # The vectors hold its gradient, which the release does not apply.
    aux_frozen=False,
  )


def _batch(
  vectors: vectors_lib.Vectors, omega: types.Omega
) -> tuple[types.Array, types.Array]:
  """The case's images and labels."""
  file = vectors.main.file
  images, labels = vectors.main.take("images"), vectors.main.take("labels")
  channels, classes = omega["stem"]["kernel"].shape[2], omega["fc"].shape[1]
  if images.ndim != 4 or images.shape[-1] != channels or not images.size:
    raise types.InputError(
      f"{file}: images must have the shape [batch, height, width, {channels}],"
      f" got {list(images.shape)}."
    )
  # JAX would clamp a label out of range without a word.
  if not (
    labels.shape == images.shape[:1]
    and np.issubdtype(labels.dtype, np.integer)
    and labels.min() >= 0
    and labels.max() < classes
  ):
    raise types.InputError(
      f"{file}: labels must be {len(images)} integers in [0, {classes})."
    )
  return jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.int32)


def _arcs(
  space: space_lib.MicroSpace,
  group: vectors_lib.Arrays,
  normal: str,
  reduction: str,
) -> list[space_lib.MicroArc]:
  """Architectures of Python ints, from one row of tokens or several."""
  rows = [np.atleast_2d(group.take(name)) for name in (normal, reduction)]
  if len(rows[0]) != len(rows[1]) or not len(rows[0]):
    raise types.InputError(
      f"{group.file}: {normal} and {reduction} must be equally many, at least"
      " one."
    )
  for cells in rows:
    if cells.ndim != 2 or not np.issubdtype(cells.dtype, np.integer):
      raise types.InputError(
        f"{group.file}: {normal} and {reduction} must be rows of integers."
      )
  text = lambda row: " ".join(map(str, row.tolist()))
  return [
    space.from_tokens(f"{text(first)} / {text(second)}")
    for first, second in zip(*rows, strict=True)
  ]


def _stack(found: list[dict[str, Any]]) -> dict[str, np.ndarray]:
  """Outputs in the files' layout: architecture first."""
  return {
    name: np.stack([np.asarray(one[name]) for one in found])
    for name in found[0]
  }
