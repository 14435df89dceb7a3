"""The one place that knows that there are several devices.

They form a mesh with one axis, "data". Parameters and data sets are whole on
each device. A step either splits its batch over the devices, or gives to each
device architectures of its own. On one device none of this changes anything.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from enas_jax import types
from enas_jax.search import hosts

_AXIS = "data"
Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Devices:
  """The devices of a run.

  Attributes:
    mesh: the devices, with one axis, "data"; None for one device.
  """

  mesh: Mesh | None = None

  @property
  def count(self) -> int:
    """How many devices there are."""
    return 1 if self.mesh is None else self.mesh.size

  def check(self, batch_size: int) -> None:
    """Refuses a training batch that cannot be split evenly.

    Raises:
      InputError: if the devices do not divide it.
    """
    if batch_size % self.count:
      raise types.InputError(
        f"--batch_size={batch_size} cannot be split over {self.count} devices:"
        " give a multiple of them, or --num_devices, a number that divides it."
      )

  def put(self, tree: Tree) -> Tree:
    """A pytree of arrays, whole on each device."""
    if self.mesh is None:
      return tree
    whole = NamedSharding(self.mesh, PartitionSpec())
    if hosts.count() == 1:
      return jax.device_put(tree, whole)
    return _map_words(lambda leaf: _put_everywhere(leaf, whole), tree)

  def one(self, tree: Tree) -> Tree:
    """The same pytree on one device of this process, as a checkpoint holds it.

    Then it can be read on any number of devices.
    """
    if self.mesh is None:
      return tree
    if hosts.count() == 1:
      return jax.device_put(tree, self.mesh.devices.flat[0])
    return _map_words(lambda leaf: leaf.addressable_data(0), tree)

  def whole(self, tree: Tree) -> Tree:
    """The same of traced arrays, such as what a step returns.

    A step whose results lie as its arguments do is compiled once.
    """
    if self.mesh is None:
      return tree
    spec = NamedSharding(self.mesh, PartitionSpec())
    return lax.with_sharding_constraint(tree, spec)

  def split(self, batch: Tree, axis: int) -> Tree:
    """A traced batch of which each device holds a part.

    The compiler divides what is computed from it, and sums over the devices
    wherever examples meet: in means, in gradients, in batch norm. So numbers
    are those of one device, but for rounding.

    Args:
      batch: pytree of arrays; those of fewer dimensions stay whole.
      axis: the axis of examples.

    Returns:
      The same batch; whole where the devices do not divide its examples.
    """
    # An uneven split would be refused.
    if self.mesh is None or not self._divide(batch, axis):
      return batch
    mesh = self.mesh
    shardings = jax.tree.map(
      lambda spec: NamedSharding(mesh, spec), _specs(batch, axis)
    )
    return lax.with_sharding_constraint(batch, shardings)

  def _divide(self, batch: Any, axis: int) -> bool:
    leaves = [x for x in jax.tree.leaves(batch) if x.ndim > axis]
    return all(x.shape[axis] % self.count == 0 for x in leaves)

  def take_arcs(self, num_arcs: int) -> bool:
    """Whether each device runs some of so many architectures, by itself."""
    return self.count > 1 and num_arcs > 1 and num_arcs % self.count == 0

  def over_parts(
    self,
    function: Callable[..., Tree],
    batch: Any,
    axis: int,
    key: types.PRNGKey,
    *held: Any,
  ) -> Tree:
    """The mean over devices of what each makes of its part of a batch alone.

    Args:
      function: (batch, key, *held) -> pytree; closes over no traced array.
      batch: as `split` takes it.
      axis: the axis of examples.
      key: split into one for each device.
      *held: pytrees that are whole on each device.

    Returns:
      What the function returns, its floats averaged; whatever else it returns
      must be the same on all devices. On one device, or where the devices do
      not divide the batch, the function of the whole.
    """
    if self.mesh is None or not self._divide(batch, axis):
      return function(batch, key, *held)
    # [1]: of the keys a device gets its own.
    run = lambda part, keys, *held: _average(function(part, keys[0], *held))
    specs = _specs(batch, axis), PartitionSpec(_AXIS)
    keys = jax.random.split(key, self.count)
    return self._map(run, specs, PartitionSpec(), held)(batch, keys, *held)

  def over_arcs(
    self, function: Callable[..., tuple[Any, Any]], arcs: Any, *held: Any
  ) -> tuple[Any, Any]:
    """Runs some of M architectures on each device, the same number on all.

    The devices take different branches of one program: a conditional is a true
    one on each of them.

    Args:
      function: (arcs, *held) -> (means over the arcs, floats; results with
        leaves [arcs, ...]); closes over no traced array.
      arcs: pytree, leaves [M, ...]; M is a multiple of the devices.
      *held: pytrees that are whole on each device.

    Returns:
      The means over all M; the results, leaves [M, ...].
    """
    if self.mesh is None:
      return function(arcs, *held)

    def run(arcs: Any, *held: Any) -> tuple[Any, Any]:
      means, results = function(arcs, *held)
      return _average(means), results

    spread = PartitionSpec(_AXIS)
    return self._map(run, (spread,), (PartitionSpec(), spread), held)(
      arcs, *held
    )

  def map_arcs(
    self, function: Callable[..., types.Array], arcs: Any, *held: Any
  ) -> types.Array:
    """`lax.map` over architectures, some of them on each device.

    Args:
      function: (one of `arcs`, *held) -> array; closes over no traced array.
      arcs: pytree, leaves [S, ...].
      *held: pytrees that are whole on each device.

    Returns:
      [S, ...], the results. Where the devices do not divide S, the last
      architecture is run more than once, and counts once.
    """
    count = jax.tree.leaves(arcs)[0].shape[0]
    # As many for each device: rounded up.
    places = np.arange(-(-count // self.count) * self.count)
    places = np.minimum(places, count - 1)
    arcs = jax.tree.map(lambda leaf: leaf[places], arcs)

    def run(arcs: Any, *held: Any) -> tuple[Any, types.Array]:
      return (), lax.map(lambda one: function(one, *held), arcs)

    return self.over_arcs(run, arcs, *held)[1][:count]

  def on_each(
    self, function: Callable[..., Any], given: Any, *held: Any
  ) -> Any:
    """What each of several devices makes of its own one of n things.

    Args:
      function: (one of `given`, *held) -> pytree; closes over no traced array.
      given: pytree, leaves [n, ...], of which each device holds one; see
        `deal`.
      *held: pytrees that are whole on each device.

    Returns:
      Their results, leaves [n, ...], of which each device holds its own.
    """

    def run(given: Any, *held: Any) -> Any:
      one = jax.tree.map(lambda leaf: leaf[0], given)
      return jax.tree.map(lambda leaf: leaf[None], function(one, *held))

    spread = PartitionSpec(_AXIS)
    return self._map(run, (spread,), spread, held)(given, *held)

  def deal(self, trees: Sequence[Tree]) -> Tree:
    """Gives each of several devices a pytree of its own.

    Args:
      trees: n pytrees of arrays, alike but for their numbers; those on devices
        are whole on each.

    Returns:
      One pytree, leaves [n, ...], of which each device holds its own.
    """
    assert self.mesh is not None
    assert len(trees) == self.count
    spread = NamedSharding(self.mesh, PartitionSpec(_AXIS))

    def place(*leaves: Any) -> Any:
      rows = [np.asarray(leaf)[None] for leaf in leaves]
      shape = (self.count, *rows[0].shape[1:])

      def row_of(index: Any) -> Any:
        """Asked for the rows of this process's devices alone."""
        return rows[index[0].start]

      return jax.make_array_from_callback(shape, spread, row_of)

    return _map_words(place, *trees)

  def _map(
    self,
    run: Callable[..., Any],
    specs: tuple[Any, ...],
    out: Any,
    held: tuple[Any, ...],
  ) -> Callable[..., Any]:
    return jax.shard_map(
      run,
      mesh=self.mesh,
      in_specs=(*specs, *[PartitionSpec() for _ in held]),
      out_specs=out,
      # With the check, a gradient of what is whole is summed over devices
      # inside each branch of a conditional. Devices that take different
      # branches then sum different things, and nobody notices (jax issue
      # 40823). Without it a gradient is the device's own until `_average`.
      check_vma=False,
    )


ONE = Devices()


def of(count: int = 0) -> Devices:
  """The first devices there are.

  Args:
    count: how many; 0: all, of all processes.

  Raises:
    InputError: if there are not so many, or a process would have none.
  """
  there = jax.devices()
  if count and hosts.count() > 1:
    raise types.InputError(
      "--num_devices cannot be given with --multihost, which takes all devices"
      " of all processes."
    )
  if not 0 <= count <= len(there):
    raise types.InputError(
      f"--num_devices must be in [0, {len(there)}], got {count}: JAX sees"
      f" {len(there)} ({there[0].platform})."
    )
  return mesh_of(there[: count or len(there)])


def mesh_of(devices: Sequence[Any]) -> Devices:
  """These devices of JAX, which need not be there if nothing is run."""
  if len(devices) == 1:
    return ONE
  return Devices(Mesh(np.asarray(devices), (_AXIS,)))


def _map_words(change: Callable[..., Any], *trees: Any) -> Any:
  """Changes the arrays of pytrees; of typed keys their words."""

  def apply(*leaves: Any) -> Any:
    dtype = getattr(leaves[0], "dtype", None)
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(change(*map(jax.random.key_data, leaves)))
    return change(*leaves)

  return jax.tree.map(apply, *trees)


def _put_everywhere(leaf: Any, sharding: NamedSharding) -> Any:
  """An array that every process holds, on every device of all processes."""
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return leaf  # it is there
  leaf = np.asarray(leaf)
  return jax.make_array_from_process_local_data(sharding, leaf, leaf.shape)


def _specs(batch: Any, axis: int) -> Any:
  spread = PartitionSpec(*[None] * axis, _AXIS)
  return jax.tree.map(
    lambda leaf: spread if leaf.ndim > axis else PartitionSpec(), batch
  )


def _average(tree: Any) -> Any:
  """The mean over devices of a pytree's floats; the rest as it is."""
  is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
  return jax.tree.map(
    lambda leaf: lax.pmean(leaf, _AXIS) if is_float(leaf) else leaf, tree
  )
