"""Trained architectures as one serialized function, for serving.

The function holds the weights and, for images, the preprocessing. It is lowered
for several platforms at once, and any number of images or texts goes through
it. `jax.export` alone reads it.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import export as jax_export
from jax import lax

from enas_jax import types
from enas_jax.export import modules
from enas_jax.export.description import ImagePreprocessing, Preprocessing
from enas_jax.nn import image_ops

PLATFORMS = ("cpu", "cuda", "tpu")


def serialize(
  module: modules.Network,
  variables: Mapping[str, Any],
  preprocessing: Preprocessing,
) -> bytes:
  """The serving function.

  Args:
    module: module that `modules.make` returned.
    variables: trained variables of the module, nested dicts of float32 arrays.
    preprocessing: preprocessing of the model.

  Returns:
    What `jax.export.deserialize` reads: images [b, H, W, C] uint8 -> logits
    [b, classes] float32; or tokens [t, b] int32, state [b, D] float32 ->
    logits [t, b, V] float32, next state.
  """
  if isinstance(preprocessing, ImagePreprocessing):
    # A symbol for the batch: one file serves every size.
    b = jax_export.symbolic_shape("b")[0]
    shape = (b, *preprocessing.image_shape)
    inputs = [jax.ShapeDtypeStruct(shape, "uint8")]
    # All branches are lowered, and the platform that reads the file keeps its
    # own: kernels made for CPU would be slow elsewhere, and the reverse.
    serve = lambda images: lax.platform_dependent(
      variables,
      preprocessing.standardise(images),
      cpu=_in_form(module, "cpu"),
      default=_in_form(module, "plain"),
    )
  else:
    # The caller hands the state on, so t may be 1: a word at a time.
    t, b = jax_export.symbolic_shape("t, b")
    state = (b, module.config.hidden_size)
    inputs = [
      jax.ShapeDtypeStruct((t, b), "int32"),
      jax.ShapeDtypeStruct(state, "float32"),
    ]
    serve = lambda *args: module.apply(variables, *args)
  exported = jax_export.export(jax.jit(serve), platforms=PLATFORMS)(*inputs)
  return bytes(exported.serialize())


def _in_form(
  module: modules.Network, form: image_ops.Form
) -> Callable[[Mapping[str, Any], types.Array], Any]:
  """The forward pass with the operations' form for a platform.

  XLA's own separable convolutions are several times slower on CPU.
  """

  def forward(variables: Mapping[str, Any], images: types.Array) -> Any:
    with image_ops.using(form):
      return module.apply(variables, images)

  return forward


def deserialize(path: pathlib.Path) -> Callable[..., Any]:
  """The serving function in a file, compiled for each batch size once.

  Args:
    path: file that holds what `serialize` returned.

  Returns:
    A function of arrays, with the shapes and types that `serialize` states.

  Raises:
    InputError: if the file is damaged or too new for this JAX.
  """
  # Reading calls for more than one kind of parser, each with its own errors.
  try:
    exported = jax_export.deserialize(bytearray(path.read_bytes()))
  except Exception as error:  # noqa: BLE001
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise types.InputError(
      f"{path} is not a function that this JAX, {jax.__version__}, can read:"
      f" {why}; export the model again."
    ) from None
  return jax.jit(exported.call)
