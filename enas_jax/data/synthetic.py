"""Random data of a given shape, for timings: nothing can be learnt from it."""

import numpy as np

from enas_jax.data import images, text


def random_images(
  count: int, shape: tuple[int, int, int], num_classes: int
) -> images.ImageData:
  """Random images, the same ones in every split.

  Args:
    count: the number of images of a split, n.
    shape: H, W and C.
    num_classes: the number of classes.
  """
  rng = np.random.default_rng(0)
  pixels = rng.integers(256, size=(count, *shape), dtype=np.uint8)
  labels = rng.integers(num_classes, size=count, dtype=np.int32)
  return images.ImageData(
    "random images",
    *(pixels, labels) * 3,
    num_classes=num_classes,
    class_names=tuple(map(str, range(num_classes))),
    mean=np.full(shape[2], 0.5, np.float32),  # [C]
    std=np.full(shape[2], 0.25, np.float32),
  )


def random_words(count: int, vocabulary_size: int) -> text.TextData:
  """A random text, the same one in every split.

  Args:
    count: the number of words, n.
    vocabulary_size: the number of different words, V.
  """
  rng = np.random.default_rng(0)
  tokens = rng.integers(vocabulary_size, size=count, dtype=np.int32)
  words = tuple(map(str, range(vocabulary_size)))
  return text.TextData("random words", tokens, tokens, tokens, words)
