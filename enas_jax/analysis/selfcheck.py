"""Whether a device computes what it should: for the day that one is there.

Everything is compared with something else that the same code computes: an
architecture that is traced with the same one written out, the operations of
accelerators with those of CPUs, the device with the host's CPU, bfloat16 with
float32, a search that was stopped and resumed with one that was not. Data and
weights are random.
"""

import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import timing
from enas_jax.nn import image_ops
from enas_jax.search import folder as folder_lib
from enas_jax.search import heartbeat, loop, precise, search
from enas_jax.spaces import decisions, registry

_WORDS = 1000  # of the random text
# Of the same sums in another order. ReLUs whose input crosses 0 make gradients
# jump: see "Traps" of BUILD.md.
_SAME_LOSS, _SAME_GRADIENT = 1e-4, 1e-2
_SAME_IN_BFLOAT16 = 0.05  # of a loss: eight bits of mantissa
# A search of some steps, as short as its parts allow.
_SHORT: Mapping[str, Mapping[str, Any]] = {
  "omega": {"steps": 8},
  "theta": {"steps": 4},
  "run": {
    **{"num_epochs": 2, "log_every": 2, "eval_arcs": 1, "derive_arcs": 4},
    "tune_arcs": 0,
  },
}
_STOP_AFTER = 10  # polls: in the first epoch's theta phase


class Check(NamedTuple):
  """One comparison.

  Attributes:
    space: the search space.
    what: what is compared with what.
    gap: how far they are apart, relative to the second.
    tolerance: how far they may be.
  """

  space: str
  what: str
  gap: float
  tolerance: float

  @property
  def ok(self) -> bool:
    """Whether it is within tolerance; NaN is not."""
    return self.gap <= self.tolerance


class _Measured(NamedTuple):
  """Cross-entropy, [] float32, nats, and its gradient in omega."""

  loss: types.Array
  grads: types.Omega


class Subject:
  """A space's shared network at one set of weights, one batch and one arc."""

  def __init__(self, space: str, preset: str, batch_size: int = 0) -> None:
    """Draws them.

    Args:
      space: the name of the search space.
      preset: the preset that the sizes come from.
      batch_size: the examples of a batch; 0: those of the preset.
    """
    config = _config(space, preset, batch_size)
    # Products of float32 would else be rounded to fewer bits on a device.
    self._config = config_lib.override(
      config, "run", matmul_precision="highest"
    )
    self._space = space
    task, splits = timing.make_task(self._config, space, _WORDS)
    key_omega, key_arc, key_batch, self._key = jax.random.split(
      jax.random.key(0), 4
    )
    self._omega = jax.jit(task.init_omega)(key_omega)
    drawn = task.space.sample_uniform(key_arc, 1)
    self._arc = task.space.validate(
      jax.tree.map(lambda leaf: np.asarray(leaf)[0], drawn)
    )
    self._carry = task.start_epoch(task.init_carry(), key_batch)
    self._batch = jax.jit(task.train_batch)(
      splits.train, self._carry, jnp.int32(0), key_batch
    )

  def measure(
    self,
    static: bool = False,
    form: image_ops.Form | None = None,
    dtype: str = "float32",
    device: jax.Device | None = None,
  ) -> _Measured:
    """Cross-entropy and gradient of the architecture on the batch.

    Args:
      static: whether the architecture is written out, of Python ints.
      form: the form of operations on images; None: the device's.
      dtype: the type of activations and products.
      device: the device; None: JAX's default.
    """
    config = config_lib.override(self._config, "run", compute_dtype=dtype)
    task = timing.make_task(config, self._space, _WORDS)[0]

    def loss_of(omega: types.Omega, arc: types.Arc, *of: Any) -> types.Array:
      child = task.child_params(omega, arc)
      loss = precise.precise(task.loss, config)
      # Without penalties: one on all of omega, if the architecture is traced.
      return loss(child, arc, *of)[1][0]["nats"]

    # Of Python ints it is a part of the program, else of what that is given.
    arc = self._arc if static else decisions.as_arrays(self._arc)
    run = jax.jit(
      jax.value_and_grad(loss_of), static_argnums=1 if static else ()
    )
    given = self._omega, self._batch, self._carry, self._key
    if device is not None:
      given, arc = jax.device_put(given, device), jax.device_put(arc, device)
    with image_ops.using(form or _default_form(device)):
      return _Measured(*jax.device_get(run(given[0], arc, *given[1:])))


def _default_form(device: jax.Device | None) -> image_ops.Form:
  platform = device.platform if device else jax.default_backend()
  return "cpu" if platform == "cpu" else "plain"


def _gaps(found: _Measured, expected: _Measured) -> tuple[float, float]:
  """Of the loss and of the gradient, relative to the second one's size."""
  loss = abs(float(found.loss) - float(expected.loss))
  difference = jax.tree.map(np.subtract, found.grads, expected.grads)
  size = float(optax.tree.norm(expected.grads))
  gap = float(optax.tree.norm(difference))
  return loss / max(abs(float(expected.loss)), 1e-12), gap / max(size, 1e-12)


def check_space(
  space: str, preset: str, batch_size: int = 0
) -> Iterator[Check]:
  """Compares one loss and its gradient, computed in several ways.

  Args:
    space: the name of the search space.
    preset: the preset that the sizes come from.
    batch_size: the examples of a batch; 0: those of the preset.

  Yields:
    The comparisons, as they are made.
  """
  subject = Subject(space, preset, batch_size)
  traced = subject.measure()
  others: dict[str, _Measured] = {"static": subject.measure(static=True)}
  other_form: image_ops.Form = (
    "plain" if _default_form(None) == "cpu" else "cpu"
  )
  others[f"operations in the form {other_form!r}"] = subject.measure(
    form=other_form
  )
  if jax.default_backend() != "cpu":
    host = jax.local_devices(backend="cpu")[0]
    others["the host's CPU"] = subject.measure(device=host)
  for name, measured in others.items():
    loss, gradient = _gaps(traced, measured)
    yield Check(space, f"loss, traced against {name}", loss, _SAME_LOSS)
    yield Check(
      space, f"gradient, traced against {name}", gradient, _SAME_GRADIENT
    )
  loss, _ = _gaps(subject.measure(dtype="bfloat16"), traced)
  yield Check(space, "loss, bfloat16 against float32", loss, _SAME_IN_BFLOAT16)


def check_search(
  space: str, folder: pathlib.Path, preset: str, batch_size: int = 0
) -> Iterator[Check]:
  """Compares a short search with itself, stopped and resumed, and in bfloat16.

  Args:
    space: the name of the search space.
    folder: an empty folder to write to.
    preset: the preset that the sizes come from.
    batch_size: the examples of a batch; 0: those of the preset.

  Yields:
    The comparisons, as they are made.
  """
  config = config_lib.override_parts(_config(space, preset, batch_size), _SHORT)
  run = functools.partial(_run_search, config, space)
  whole = run(folder / "whole")
  try:
    run(folder / "stopped", stop=_stop_after(_STOP_AFTER))
  except loop.Interrupted:
    pass
  resumed = run(folder / "stopped")
  # Bytes have no distance.
  gap = 0.0 if resumed == whole else math.inf
  yield Check(space, "a search, resumed against not stopped: bits", gap, 0.0)
  half = config_lib.override(config, "run", compute_dtype="bfloat16")
  in_half = _run_search(half, space, folder / "bfloat16")
  losses = [_last_loss(files) for files in (in_half, whole)]
  gap = abs(losses[0] - losses[1]) / max(abs(losses[1]), 1e-12)
  # Looser than of one loss: roundings of all steps before have a part in it.
  yield Check(space, "a search's last loss, bfloat16 against float32", gap, 0.1)


def traced_over_static(
  space: str, rounds: int, preset: str, batch_size: int = 0
) -> dict[str, Any]:
  """Seconds of an omega step, traced and compiled for one architecture alone.

  Args:
    space: the name of the search space.
    rounds: the number of timings of each.
    preset: the preset that the sizes come from.
    batch_size: the examples of a batch; 0: those of the preset.

  Returns:
    What `timing.SearchTimer.omega` returns.
  """
  config = _config(space, preset, batch_size)
  return timing.SearchTimer(config, space, _WORDS).omega(1, rounds)


def _config(space: str, preset: str, batch_size: int) -> Any:
  config = registry.preset(preset, space)
  if batch_size:
    config = config_lib.override(config, "data", batch_size=batch_size)
  return config


def _stop_after(polls: int) -> Callable[[], int]:
  """A signal at the given poll."""
  asked = iter(range(1, polls + 1))
  # SIGTERM; once the numbers are used up the default keeps it there.
  return lambda: 15 if next(asked, polls) == polls else 0


def _run_search(
  config: config_lib.SearchConfig,
  space: str,
  folder: pathlib.Path,
  stop: Callable[[], int] = lambda: 0,
) -> tuple[list[dict[str, Any]], list[bytes]]:
  """Runs or resumes a search.

  Returns:
    Its rows of metrics without times, and the bytes of its weights.
  """
  folder.mkdir(exist_ok=True)
  task, splits = timing.make_task(config, space, _WORDS)
  one = search.Search(config, task, splits, folder, stop=stop)
  one.run()
  rows = folder_lib.read_rows(folder / folder_lib.METRICS, "")
  rows = [
    {k: v for k, v in row.items() if k not in heartbeat.FIELDS} for row in rows
  ]
  weights = jax.device_get(jax.tree.leaves(one.state.omega))
  return rows, [leaf.tobytes() for leaf in weights]


def _last_loss(files: tuple[Sequence[Mapping[str, Any]], Any]) -> float:
  name = "omega/loss_nats"
  return [row[name] for row in files[0] if name in row][-1]
