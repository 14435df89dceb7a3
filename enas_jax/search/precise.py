"""The precision of matrix products and convolutions in compiled functions."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

from enas_jax import config as config_lib

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def precise(
  function: Callable[_Arguments, _Result], config: config_lib.AnyConfig
) -> Callable[_Arguments, _Result]:
  """The function, traced at the precision that the configuration names.

  A whole step is traced so, derivatives too. At "default" it is the function
  itself.

  Args:
    function: what is to be compiled.
    config: the configuration of a search or of a training.
  """
  precision = config.run.matmul_precision
  if precision == "default":
    return function

  @functools.wraps(function)
  def traced(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
    with jax.default_matmul_precision(precision):
      return function(*args, **kwargs)

  return traced
