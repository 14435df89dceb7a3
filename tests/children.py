"""A space's child from the whole of omega, in one call."""

from enas_jax.spaces.macro import network as macro
from enas_jax.spaces.micro import network as micro
from enas_jax.spaces.nasbench201 import network as nasbench201
from enas_jax.spaces.recurrent import network as recurrent


def run_recurrent(omega, arc, tokens, state, **options):
  """[T, B, D], the states."""
  child = recurrent.child_params(omega, arc)
  return recurrent.apply_child(child, arc, tokens, state, **options)


def run_macro(omega, statistics, arc, images, *, config, **options):
  """The logits, [B, classes], and the moved statistics."""
  child = macro.child_params(omega, arc, config)
  logits, statistics = macro.apply_child(
    child, statistics, arc, images, config=config, **options
  )
  return logits.main, statistics


def run_micro(omega, arc, images, *, config, **options):
  """The logits, [B, classes] each; `omega` may be a child's, too."""
  return micro.apply_child(omega, {}, arc, images, config=config, **options)[0]


def run_nasbench201(omega, statistics, arc, images, *, config, **options):
  """The logits and the moved statistics."""
  child = nasbench201.child_params(omega, arc, config)
  return nasbench201.apply_child(
    child, statistics, arc, images, config=config, **options
  )
