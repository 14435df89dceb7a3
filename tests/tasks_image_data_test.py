"""What is said of images before a search or a training."""

from absl.testing import absltest

from enas_jax import config as config_lib
from enas_jax.tasks import image_data
from tests import tiny


class DescribeTest(absltest.TestCase):
  def test_mirrored_images_are_no_surprise(self):
    config, data = tiny.make_image_config("micro"), tiny.make_images()
    channels = data.train_images.shape[-1]
    for flip in (False, True):
      config = config_lib.override(config, "data", flip=flip)
      line = image_data.describe(data, config)
      self.assertEqual("mirrored" in line, flip)
      self.assertIn(f"{channels} channel{'s' * (channels > 1)},", line)


if __name__ == "__main__":
  absltest.main()
