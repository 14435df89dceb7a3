import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import types
from enas_jax.data import augment

KEY = jax.random.key(0)
crop_and_flip = jax.jit(augment.augment, static_argnames=("pad", "flip"))
cutout = jax.jit(augment.cutout, static_argnames="size")


def numbered(count: int, height: int = 8, width: int = 9) -> np.ndarray:
  """Images of which each pixel of each tells where it was; none is 0."""
  pixels = np.arange(1, height * width + 1, dtype=np.float32)
  image = pixels.reshape(height, width)
  return np.broadcast_to(
    np.stack([image, -image], -1), (count, height, width, 2)
  )


def padded_crop(image: np.ndarray, pad: int, top: int, left: int) -> np.ndarray:
  height, width, _ = image.shape
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  return padded[top : top + height, left : left + width]


def crops(images: np.ndarray, pad: int) -> list[tuple[int, int, bool]]:
  """Finds (top, left, flipped) of each augmented `numbered` image."""
  original = numbered(1)[0]
  found = {}
  for top in range(2 * pad + 1):
    for left in range(2 * pad + 1):
      crop = padded_crop(original, pad, top, left)
      found[crop.tobytes()] = top, left, False
      found[np.ascontiguousarray(crop[:, ::-1]).tobytes()] = top, left, True
  assert len(found) == 2 * (2 * pad + 1) ** 2  # all differ
  return [found[image.tobytes()] for image in images]


class TestStandardise:
  def test_mean_and_deviation(self) -> None:
    x = np.random.RandomState(0).randint(0, 200, (6, 8, 8, 3), np.uint8)
    x[..., 1] //= 2
    mean = (x / 255).mean((0, 1, 2)).astype(np.float32)
    std = (x / 255).std((0, 1, 2)).astype(np.float32)
    y = np.asarray(jax.jit(augment.standardise)(x, mean, std))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-5)

  def test_by_hand(self) -> None:
    x = jnp.full((1, 1, 1, 2), 51, jnp.uint8)
    y = augment.standardise(x, jnp.array([0.1, 0.2]), jnp.array([0.5, 9.0]))
    np.testing.assert_allclose(y[0, 0, 0], [0.2, 0], atol=1e-6)

  def test_other_types_are_refused(self) -> None:
    with pytest.raises(AssertionError):
      augment.standardise(jnp.ones((1, 8, 8, 1)), jnp.ones(1), jnp.ones(1))


class TestAugment:
  def test_crops_and_flips(self) -> None:
    count, pad = 2000, 2
    out = crop_and_flip(KEY, numbered(count), pad=pad)
    assert out.shape == (count, 8, 9, 2) and out.dtype == jnp.float32
    # Each image is exactly one of the crops, so padding is exactly zero.
    found = crops(np.asarray(out), pad)
    places = 2 * pad + 1
    tops, lefts, flips = map(np.array, zip(*found, strict=True))
    assert len(set(found)) == 2 * places**2
    for offsets in (tops, lefts):
      counts = np.bincount(offsets, minlength=places)
      sigma = np.sqrt(count * (1 / places) * (1 - 1 / places))
      assert np.abs(counts - count / places).max() < 5 * sigma
    assert abs(flips.sum() - count / 2) < 5 * np.sqrt(count / 4)
    # The two offsets and the flip are independent.
    bound = 5 / np.sqrt(count)
    correlation = np.corrcoef([tops, lefts, flips])
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < bound

  def test_pad_of_the_paper(self) -> None:
    out = np.asarray(crop_and_flip(KEY, numbered(64)))
    found = crops(out, 4)
    assert max(max(top, left) for top, left, _ in found) > 6
    assert min(min(top, left) for top, left, _ in found) < 2
    assert (out == 0).any()

  def test_no_flip(self) -> None:
    out = crop_and_flip(KEY, numbered(200), pad=1, flip=False)
    found = crops(np.asarray(out), 1)
    assert not any(flip for _, _, flip in found)
    assert len(set(found)) == 9

  def test_nothing(self) -> None:
    x = numbered(5)
    out = crop_and_flip(KEY, x, pad=0, flip=False)
    np.testing.assert_array_equal(out, x)

  def test_flip_alone(self) -> None:
    x = numbered(64)
    out = np.asarray(crop_and_flip(KEY, x, pad=0))
    flipped = (out == x[:, :, ::-1]).all((1, 2, 3))
    kept = (out == x).all((1, 2, 3))
    assert (flipped ^ kept).all() and flipped.any() and kept.any()

  def test_the_key_decides(self) -> None:
    x = numbered(16)
    out = crop_and_flip(KEY, x)
    np.testing.assert_array_equal(out, crop_and_flip(KEY, x))
    assert (out != crop_and_flip(jax.random.key(1), x)).any()

  def test_keys_are_used_once(self) -> None:
    with jax.debug_key_reuse(True):
      crop_and_flip(jax.random.key(7), numbered(16))
      cutout(jax.random.key(8), numbered(16), size=3)


class TestCutout:
  def test_squares(self) -> None:
    count, size = 2000, 3
    x = numbered(count)
    out = np.asarray(cutout(KEY, x, size=size))
    assert ((out == 0) | (out == x)).all()
    zero = out == 0
    assert (zero[..., 0] == zero[..., 1]).all()
    corners = []
    for mask in zero[..., 0]:
      rows, columns = np.nonzero(mask)
      top, left = rows.min(), columns.min()
      expected = np.zeros((8, 9), bool)
      expected[top : top + size, left : left + size] = True  # clips at the end
      np.testing.assert_array_equal(mask, expected)
      corners.append((int(top), int(left)))
    assert set(corners) == {(i, j) for i in range(8) for j in range(9)}
    tops, lefts = np.array(corners).T
    for offsets, places in ((tops, 8), (lefts, 9)):
      counts = np.bincount(offsets, minlength=places)
      sigma = np.sqrt(count / places * (1 - 1 / places))
      assert np.abs(counts - count / places).max() < 5 * sigma
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 5 / np.sqrt(count)

  def test_sizes(self) -> None:
    x = numbered(8)
    np.testing.assert_array_equal(cutout(KEY, x, size=0), x)
    whole = np.asarray(cutout(KEY, x, size=20))
    assert (whole[:, -1, -1] == 0).all()

  def test_the_key_decides(self) -> None:
    x = numbered(16)
    out = cutout(KEY, x, size=4)
    np.testing.assert_array_equal(out, cutout(KEY, x, size=4))
    assert (out != cutout(jax.random.key(1), x, size=4)).any()


class TestBatches:
  def test_permutation(self) -> None:
    order = augment.epoch_permutation(KEY, 100)
    assert order.dtype == jnp.int32
    assert sorted(order.tolist()) == list(range(100))
    assert order.tolist() != list(range(100))
    again = augment.epoch_permutation(KEY, 100)
    np.testing.assert_array_equal(order, again)
    other = augment.epoch_permutation(jax.random.key(1), 100)
    assert (order != other).any()

  def test_an_epoch_takes_each_image_once(self) -> None:
    images = jnp.arange(11, dtype=jnp.uint8)[:, None, None, None] + jnp.zeros(
      (1, 8, 8, 1), jnp.uint8
    )
    labels = jnp.arange(11, dtype=jnp.int32) * 2
    order = augment.epoch_permutation(KEY, 11)
    take = jax.jit(augment.take_batch, static_argnames="batch_size")
    count = augment.num_batches(11, 3, "train")
    assert count == 3
    seen = []
    for step in range(count):
      x, y = take(images, labels, order, jnp.int32(step), batch_size=3)
      assert x.shape == (3, 8, 8, 1) and x.dtype == jnp.uint8
      assert y.dtype == jnp.int32
      assert (x[:, 0, 0, 0] * 2 == y).all()
      seen += x[:, 5, 5, 0].tolist()
    assert seen == order[:9].tolist()
    indices = augment.batch_indices(order, jnp.int32(1), 3)
    np.testing.assert_array_equal(indices, order[3:6])

  @pytest.mark.parametrize(
    "batch_size, pattern",
    [
      (0, "batch size is 0; it must be at least 1"),
      (
        9,
        "the valid split has 8 images, too few for one batch of 9: lower"
        " --reward_batch_size to 8 at most",
      ),
    ],
  )
  def test_num_batches_fails(self, batch_size: int, pattern: str) -> None:
    with pytest.raises(types.InputError, match=pattern):
      augment.num_batches(8, batch_size, "valid")
    assert augment.num_batches(8, 8, "valid") == 1
