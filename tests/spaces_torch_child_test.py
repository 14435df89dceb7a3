"""The children in PyTorch compute what ours do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from enas_jax import types
from enas_jax.nn import image_ops
from enas_jax.spaces import decisions, registry
from tests import tiny

torch = pytest.importorskip("torch")

_ARCS = 2
_IMAGES = {**tiny.IMAGE_FLAGS, "macro": {"num_layers": 4, "num_filters": 4}}


def _options(space):
  if space == "recurrent":
    rates = ("word", "embedding", "x", "state", "output")
    dropout = {f"drop_{name}": 0.0 for name in rates}
    sizes = {"num_nodes": 4, "hidden_size": 8, "init_range": 0.3}
    return tiny.child_config(space, **sizes, **dropout)
  return tiny.child_config(space, drop_features=0.0, **_IMAGES[space])


def _batch(space):
  rng = np.random.default_rng(0)
  if space == "recurrent":
    words = rng.integers(30, size=(6, 8)).astype(np.int32)
    return types.TextBatch(words[:-1], words[1:])
  images = rng.normal(size=(8, 8, 8, 3)).astype(np.float32)
  return types.ImageBatch(images, rng.integers(10, size=8).astype(np.int32))


def _loss(network, options, batch, arc, child):
  if network.kind == "text":
    state = jnp.zeros((batch.inputs.shape[1], options.hidden_size))
    states = network.apply_child(
      child, arc, batch.inputs, state, config=options
    )
    return jnp.mean(network.nats(child, states, batch.targets))
  logits, _ = network.apply_child(
    child, {}, arc, batch.images, config=options, train=True
  )
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(logits.main, batch.labels)
  )


class TorchChildTest(parameterized.TestCase):
  @parameterized.parameters(*registry.names())
  def test_loss_and_gradients(self, space):
    options, batch = _options(space), _batch(space)
    definition = registry.get(space)
    network = definition.network
    keys = jax.random.split(jax.random.key(0))
    sizes = (30,) if space == "recurrent" else (10, (8, 8, 3))
    omega = jax.jit(lambda key: network.init(key, options, *sizes))(keys[0])
    arcs = options.space().sample_uniform(keys[1], _ARCS)
    arcs = [
      options.space().validate(decisions.nth(arcs, i)) for i in range(_ARCS)
    ]
    if space == "nasbench201":
      arcs.append(arcs[0]._replace(ops=(4, 1, 4, 0, 4, 1)))  # without weights
    for arc in arcs:
      child = network.child_params(omega, arc, options)
      loss = functools.partial(_loss, network, options, batch, arc)
      with image_ops.using("plain"):  # which compiles sooner
        ours, grads = jax.jit(jax.value_and_grad(loss))(child)
      peer = definition.torch_child(options, arc)
      weights = peer.weights(jax.tree.map(np.asarray, child))
      leaves = [leaf.requires_grad_() for leaf in jax.tree.leaves(weights)]
      theirs = peer.loss(weights, peer.batch(batch), train=True)
      theirs.backward()
      np.testing.assert_allclose(theirs.item(), ours, rtol=1e-5)
      wanted = jax.tree.leaves(peer.weights(jax.tree.map(np.asarray, grads)))
      largest = max(float(leaf.abs().max()) for leaf in wanted)
      self.assertGreater(largest, 1e-3)
      for leaf, grad in zip(leaves, wanted, strict=True):
        got = torch.zeros_like(grad) if leaf.grad is None else leaf.grad
        np.testing.assert_allclose(got, grad, atol=2e-4 * largest)


if __name__ == "__main__":
  absltest.main()
