"""Image classification whose reward counts the two most likely classes."""

import dataclasses

import jax.numpy as jnp

from enas_jax.tasks import image_classifier


class Top2Classifier(image_classifier.ImageClassifier):
  """An image counts if its class is among the two most likely."""

  metric = "top2_accuracy"

  def is_right(self, logits, labels):
    """[B] bool, of logits [B, classes] and labels [B] int32."""
    first_two = jnp.argsort(logits, axis=-1)[:, -2:]
    return jnp.any(first_two == labels[:, None], axis=-1)


DEFINITION = dataclasses.replace(
  image_classifier.DEFINITION,
  name="top2",
  metric=Top2Classifier.metric,
  create=Top2Classifier.of,
)
