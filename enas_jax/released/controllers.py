"""The controllers: of `enas_lm`, and of the CIFAR-10 code's two spaces."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.released import tables

_ATTENTION = (
  tables.Entry("attend_key", "attention/w_1"),
  tables.Entry("attend_query", "attention/w_2"),
  tables.Entry("attend_v", "attention/v", tables.COLUMN),
)


def enas_lm(order: Iterable[int]) -> tables.Graph:
  """Weights of a controller whose operations have one embedding, tied.

  Args:
    order: our number of each of the release's operations.
  """
  ops = tables.reordered(order)
  entries = (
    tables.Entry("lstm", "lstm/w"),
    tables.Entry("start", "embedding/g", tables.ROW),
    tables.Entry("op_embedding", "embedding/w", axes=(ops,)),
    *_ATTENTION,
  )
  return _graph(entries, ops, tied_ops=True, op_bias=False)


def cifar10(order: Iterable[int], *, op_bias: bool) -> tables.Graph:
  """Weights of a controller of the CIFAR-10 code.

  Args:
    order: our number of each of the release's operations.
    op_bias: whether it has a bias for each operation.
  """
  ops = tables.reordered(order)
  entries = (
    tables.Entry("lstm", "lstm/layer_0/w"),
    tables.Entry("start", "g_emb", tables.ROW),
    tables.Entry("op_embedding", "emb/w", axes=(ops,)),
    tables.Entry("op_softmax", "softmax/w", axes=(tables.WHOLE, ops)),
    tables.Entry("op_bias", "softmax/b", tables.ROW, axes=(ops,)),
    *_ATTENTION,
  )
  return _graph(entries, ops, tied_ops=False, op_bias=op_bias)


def _graph(
  entries: Iterable[tables.Entry],
  ops: tables.Axis,
  *,
  tied_ops: bool,
  op_bias: bool,
) -> tables.Graph:
  # `tables.reordered` keeps one array of numbers, under an empty label.
  count = len(ops[1][""])

  def shapes(
    _: tables.Variables, config: config_lib.ControllerConfig
  ) -> types.Theta:
    """The shapes of theta, as `Controller.init` lays it out."""
    rule = f"op_bias must be {'above 0' if op_bias else '0'}"
    tables.require((config.op_bias > 0) == op_bias, rule)
    h = config.hidden_size
    theta = {
      "lstm": (2 * h, 4 * h),  # input and state; four gates
      "start": (h,),
      "op_embedding": (count, h),
      "attend_key": (h, h),
      "attend_query": (h, h),
      "attend_v": (h,),
    }
    theta |= {} if tied_ops else {"op_softmax": (h, count)}
    theta |= {"op_bias": (count,)} if op_bias else {}
    struct = lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    return {name: struct(shape) for name, shape in theta.items()}

  return tables.Graph(
    "controller/",
    lambda config: entries,
    shapes,
    {"tied_ops": tied_ops},
    "hidden_size",
  )
