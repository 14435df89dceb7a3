"""Accelerators: what they can do at most, and what they are assumed to cost.

The peaks are those of the makers' data sheets, dense and without sparsity:
docs.cloud.google.com/tpu/docs (a page for each version), NVIDIA's data sheets
"A100 80GB" (SXM) and "H100" (SXM), 2024. The prices are rough assumptions of
an hour of one chip on demand in the USA. They change and differ between
providers: look yours up, and give it as `--price`.
"""

from typing import NamedTuple

from enas_jax import config as config_lib
from enas_jax import types


class Chip(NamedTuple):
  """An accelerator, as one device of JAX.

  Attributes:
    name: the name in flags and tables.
    platform: JAX's platform: "tpu" or "cuda".
    kind: JAX's `device_kind`; of a card a part of it.
    bfloat16: floating-point operations a second of bfloat16 products.
    float32: the same of float32 operands at JAX's default precision, in one
      pass of bfloat16 on a TPU and of TF32 on a GPU.
    highest: the same at `--matmul_precision=highest`: six passes of bfloat16 on
      a TPU, float32 without tensor cores on a GPU.
    bandwidth: bytes a second from and to its memory.
    memory: bytes of its memory.
    price: assumed, US dollars an hour.
  """

  name: str
  platform: str
  kind: str
  bfloat16: float
  float32: float
  highest: float
  bandwidth: float
  memory: int
  price: float

  def flops(self, config: config_lib.AnyConfig) -> float:
    """Floating-point operations a second of products of a configuration."""
    if config.run.compute_dtype == "bfloat16":
      return self.bfloat16
    exact = config.run.matmul_precision == "highest"
    return self.highest if exact else self.float32

  def is_here(self, device_kind: str) -> bool:
    """Whether a device of JAX is such a chip."""
    if self.platform == "tpu":  # "TPU v5" is another one than "TPU v5 lite"
      return device_kind == self.kind
    return self.kind in device_kind


_GIB = 2**30
# Of a TPU `float32` is `bfloat16`, one pass, and `highest` a sixth of it.
_CHIPS = (
  Chip("v4", "tpu", "TPU v4", 275e12, 275e12, 46e12, 1228e9, 32 * _GIB, 3.22),
  Chip(
    "v5e", "tpu", "TPU v5 lite", 197e12, 197e12, 33e12, 819e9, 16 * _GIB, 1.20
  ),
  Chip("v5p", "tpu", "TPU v5", 459e12, 459e12, 76e12, 2765e9, 95 * _GIB, 4.20),
  Chip(
    "v6e", "tpu", "TPU v6 lite", 918e12, 918e12, 153e12, 1640e9, 32 * _GIB, 2.70
  ),
  Chip(
    "a100", "cuda", "A100", 312e12, 156e12, 19.5e12, 2039e9, 80 * _GIB, 5.00
  ),
  Chip("h100", "cuda", "H100", 989e12, 495e12, 67e12, 3350e9, 80 * _GIB, 11.00),
)
CHIPS = {chip.name: chip for chip in _CHIPS}
VERSIONS = tuple(chip.name for chip in _CHIPS if chip.platform == "tpu")
CARDS = tuple(chip.name for chip in _CHIPS if chip.platform == "cuda")


def of_topology(topology: str) -> Chip:
  """The chip of a topology such as "v5e:2x2".

  Raises:
    InputError: if its version is not in the table.
  """
  name, colon, _ = topology.partition(":")
  if name not in VERSIONS or not colon:
    raise types.InputError(
      "topology must be VERSION:SHAPE such as v5e:2x2, VERSION one of"
      f" {', '.join(VERSIONS)}; got {topology!r}."
    )
  return CHIPS[name]
