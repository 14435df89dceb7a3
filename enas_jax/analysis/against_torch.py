"""Plain eager PyTorch beside ours: the same architectures, a step at a time.

PyTorch runs in a process of its own, so that its memory and the seconds of its
threads are not ours. Its step is the forward pass, the backward pass, the l2
penalty, the clipping and the optimizer's update of one architecture alone, on a
batch that is there already; ours also chooses and augments the batch.
"""

import functools
import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

import jax
import numpy as np

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.analysis import stopwatch, timing
from enas_jax.spaces import base as spaces
from enas_jax.spaces import decisions, registry

INSTALL = "pip install 'enas_jax[torch]'"
_SIDE = 2048  # of the square matrices whose product is the machine's peak
_REPEATS = 5


def check(config: config_lib.SearchConfig, space: str) -> None:
  """Refuses what PyTorch's children cannot be asked for.

  Args:
    config: the search's configuration.
    space: the name of the search space.

  Raises:
    InputError: if PyTorch is not installed, the space has no child in it, or
      the step does what the comparison does not.
  """
  definition = registry.get(space)
  if definition.torch_child is None:
    raise types.InputError(
      f"space {space!r} has no child in PyTorch (`torch_child` of its"
      " definition), so there is nothing to compare with."
    )
  if importlib.util.find_spec("torch") is None:
    raise types.InputError(
      f"--against=torch needs PyTorch, which is not installed: {INSTALL}."
    )
  # `_Child.train` knows no other values of these.
  plain = {
    "omega_num_arcs": (config.omega.num_arcs, 1),
    "omega_l2_form": (config.omega.l2_form, "squares"),
    "omega_slowness_weight": (config.omega.slowness_weight, 0.0),
    "omega_activation_weight": (config.omega.activation_weight, 0.0),
    "compute_dtype": (config.run.compute_dtype, "float32"),
  }
  for name, (value, known) in plain.items():
    if value != known:
      raise types.InputError(
        f"{name} must be {known} against PyTorch, got {value}."
      )
  # Options are refused whatever the architecture, so any will do.
  arcs = config.child.space().sample_uniform(jax.random.key(0), 1)
  arc = config.child.space().validate(decisions.nth(arcs, 0))
  definition.torch_child(config.child, arc)  # refuses options that it lacks


class Children:
  """Children in PyTorch, in a process of their own.

  Attributes:
    trained: by architecture, a training step; a call returns its seconds.
    scored: by architecture, the loss of a batch without gradient; the same.
  """

  def __init__(self, timer: timing.SearchTimer, arcs: Sequence[types.Arc]):
    """Starts the process and hands over weights and batches.

    Args:
      timer: the search.
      arcs: the architectures, of Python ints.
    """
    definition = registry.of_options(timer.config.child)
    here, there = multiprocessing.Pipe()
    jobs = [(arc, jax.tree.map(np.asarray, timer.child(arc))) for arc in arcs]
    batches = jax.tree.map(np.asarray, timer.batches())
    # A forked process would lack XLA's threads, and may find their locks taken.
    context = multiprocessing.get_context("spawn")
    self._process = context.Process(
      target=_serve,
      args=(there, definition.torch_child, timer.config, jobs, batches),
      daemon=True,  # ends with us, also where `close` is not reached
    )
    self._process.start()
    # Its own copy alone stays open: when it dies, `recv` learns of it.
    there.close()
    self._pipe = here
    self.trained = [self._runner("train", i) for i in range(len(arcs))]
    self.scored = [self._runner("score", i) for i in range(len(arcs))]

  def _runner(self, what: str, number: int) -> Callable[[], stopwatch.Seconds]:
    return functools.partial(self._ask, what, number)

  def _ask(self, what: str, number: int = 0) -> Any:
    try:
      self._pipe.send((what, number))
      return self._pipe.recv()
    # Which of them depends on what it had read before it died.
    except (EOFError, ConnectionError):
      self._process.join()
      raise types.InputError(
        "PyTorch's process has ended with status"
        f" {self._process.exitcode} before it answered: what it printed says"
        " why; one that was killed, for its memory say, prints nothing."
      ) from None

  def close(self) -> dict[str, float]:
    """Ends the process.

    Returns:
      "torch_peak_rss_mb", its peak memory; "torch_matmul_gflops", what one CPU
      second of its matrix product computes.
    """
    record: dict[str, float] = self._ask("close")
    self._process.join()
    return record


def _serve(
  pipe: connection.Connection,
  make: Callable[[Any, types.Arc], spaces.TorchChild],
  config: config_lib.SearchConfig,
  jobs: Sequence[tuple[types.Arc, types.Omega]],
  batches: tuple[Any, Any],
) -> None:
  """Answers what `Children` asks, until it asks to end."""
  import torch

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  children = [
    _Child(make(config.child, arc), config, weights, batches)
    for arc, weights in jobs
  ]
  while True:
    what, number = pipe.recv()
    if what == "close":
      break
    pipe.send(stopwatch.seconds_of(getattr(children[number], what)))
  a = torch.rand(_SIDE, _SIDE)
  gflops = _matmul_gflops(lambda: a @ a)
  peak = stopwatch.peak_rss_mb()
  pipe.send({"torch_peak_rss_mb": peak, "torch_matmul_gflops": gflops})


class _Child:
  """One architecture's weights, its optimizer and its batches."""

  def __init__(
    self,
    child: spaces.TorchChild,
    config: config_lib.SearchConfig,
    weights: types.Omega,
    batches: tuple[Any, Any],
  ) -> None:
    import torch

    self._child, self._config = child, config.omega
    self._weights = child.weights(weights)
    self._batch, self._reward_batch = map(child.batch, batches)
    self._leaves = [
      leaf.requires_grad_() for leaf in jax.tree.leaves(self._weights)
    ]
    # Without a schedule: how long a step takes does not depend on the rate.
    self._optimizer = torch.optim.SGD(
      self._leaves,
      config.omega.learning_rate,
      config.omega.momentum,
      # PyTorch refuses Nesterov's form without momentum.
      nesterov=config.omega.momentum > 0,
    )

  def train(self) -> None:
    import torch

    self._optimizer.zero_grad()
    self._child.loss(self._weights, self._batch, train=True).backward()
    used = [leaf for leaf in self._leaves if leaf.grad is not None]
    # The penalty is the weight times the sum of squares, which `check` holds.
    if self._config.l2_weight:
      with torch.no_grad():
        torch._foreach_add_(
          [leaf.grad for leaf in used], used, alpha=2 * self._config.l2_weight
        )
    if self._config.clip_norm:
      torch.nn.utils.clip_grad_norm_(used, self._config.clip_norm)
    self._optimizer.step()

  def score(self) -> None:
    import torch

    with torch.no_grad():
      self._child.loss(self._weights, self._reward_batch, train=False).item()


def matmul_gflops() -> dict[str, float]:
  """What one CPU second of a large product of matrices computes, 1e9 FLOP.

  Returns:
    "jax_matmul_gflops" and "numpy_matmul_gflops", the best of a few.
  """
  a = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
  on_device = jax.device_put(a)
  return {
    "numpy_matmul_gflops": _matmul_gflops(lambda: a @ a),
    "jax_matmul_gflops": _matmul_gflops(
      lambda: jax.block_until_ready(on_device @ on_device)
    ),
  }


def _matmul_gflops(run: Callable[[], Any]) -> float:
  run()  # the first call compiles
  best = min(stopwatch.seconds_of(run).cpu for _ in range(_REPEATS))
  # n^3 multiply-adds of two operations, in units of 1e9.
  return 2e-9 * _SIDE**3 / best


def compare(
  timer: timing.SearchTimer, count: int, rounds: int, *, static: bool = True
) -> dict[str, Any]:
  """Times the omega step and the reward of a theta step beside PyTorch's.

  Args:
    timer: the search, after its `compilations`.
    count: the number of architectures.
    rounds: the number of timings of each.
    static: whether to time the step for each architecture alone, too.

  Returns:
    What `SearchTimer.omega` and `SearchTimer.reward` return, PyTorch's figures
    with "torch" in their names; the peak of this machine in matrix products,
    by CPU second of the quickest of NumPy, JAX and PyTorch, and the share of it
    that omega steps reach: twice the multiply-adds of the forward pass, and
    twice that for the backward pass, over CPU seconds.
  """
  arcs = timer.arcs(count)
  children = Children(timer, arcs)
  record = timer.omega(count, rounds, static=static, peers=children.trained)
  record |= timer.reward(count, rounds, children.scored)
  record = {name.replace("peer", "torch"): x for name, x in record.items()}
  # In this order: PyTorch's process has ended before our products are timed,
  # and leaves them all cores.
  record |= children.close() | matmul_gflops()
  peak = max(x for name, x in record.items() if name.endswith("_gflops"))
  # 6 is 2 * (1 + 2): two operations each, forward and twice as many backward.
  gflop = 6e-9 * float(np.median([timer.multiply_adds(arc) for arc in arcs]))
  shares = {
    f"{name}_share_of_peak": gflop / record[f"{name}_cpu_seconds"] / peak
    for name in ("traced", *["static"] * static, "torch")
  }
  return record | {"step_gflop": gflop, "peak_gflops": peak} | shares
