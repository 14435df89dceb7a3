"""Splits of images on the device, and the batches that cover them."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from enas_jax import types
from enas_jax.data import batches, synthetic
from tests import tiny


class BatchesTest(absltest.TestCase):
  def test_a_shuffled_image_keeps_its_label(self):
    data = tiny.make_images()
    mixed = batches.shuffled(data)
    for split in ("train", "valid", "test"):
      before, after = (
        sorted(
          zip(
            (image.tobytes() for image in getattr(of, f"{split}_images")),
            getattr(of, f"{split}_labels").tolist(),
            strict=True,
          )
        )
        for of in (data, mixed)
      )
      self.assertEqual(before, after)
    self.assertFalse(np.array_equal(data.train_labels, mixed.train_labels))
    again = batches.shuffled(data)
    np.testing.assert_array_equal(again.test_images, mixed.test_images)

  def test_chunks_count_every_image_once(self):
    labels = np.arange(7, dtype=np.int32)
    split = batches.put(np.zeros((7, 8, 8, 1), np.uint8), labels, 3, "valid")
    shown = [batches.chunk(split, jnp.int32(i), 3) for i in range(3)]
    self.assertEqual(
      [part.labels.tolist() for part, _ in shown],
      [[0, 1, 2], [3, 4, 5], [4, 5, 6]],
    )
    self.assertEqual(shown[2][1].tolist(), [False, False, True])
    self.assertTrue(all(fresh.all() for _, fresh in shown[:2]))

  def test_too_few_for_a_batch(self):
    with self.assertRaisesRegex(types.InputError, "valid"):
      batches.put(
        np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int32), 3, "valid"
      )


class SyntheticTest(absltest.TestCase):
  def test_shapes(self):
    data = synthetic.random_images(5, (4, 6, 2), 3)
    self.assertEqual(data.valid_images.shape, (5, 4, 6, 2))
    self.assertTrue(set(data.train_labels.tolist()) <= {0, 1, 2})
    text = synthetic.random_words(50, 4)
    self.assertEqual((text.test.shape, len(text.vocabulary)), ((50,), 4))
    self.assertEqual(text.train.max(), 3)


if __name__ == "__main__":
  absltest.main()
