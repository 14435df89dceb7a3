"""What is exported is the network that was trained, and lives alone."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from absl.testing import absltest, parameterized
from flax import traverse_util

import enas_jax
from enas_jax import export, types
from enas_jax.spaces import registry
from enas_jax.spaces.recurrent import network as recurrent
from tests import exported, tiny

BATCHES = (1, 3)
ROOT = pathlib.Path(enas_jax.__file__).parent.parent
# Serves, then loads, what its arguments name; in the end nothing of the search
# may have been imported.
ALONE = """
import pathlib, sys
import jax, numpy as np
from jax import export as jax_export

def run(function, inputs):
  found = jax.tree.leaves([function(*args) for args in inputs])
  return {str(i): np.asarray(leaf) for i, leaf in enumerate(found)}

folders = [pathlib.Path(name) for name in sys.argv[1:]]
raw = {}
for folder in folders:
  arrays = dict(np.load(folder.with_suffix(".npz")))
  given = [name.split("_") for name in sorted(arrays)]
  raw[folder] = [
    [arrays[f"{b}_{i}"] for c, i in given if c == b] for b in ("1", "3")
  ]
  blob = bytearray((folder / "model.jaxexport").read_bytes())
  serve = jax_export.deserialize(blob).call
  np.savez(f"{folder}_raw.npz", **run(serve, raw[folder]))
assert not [name for name in sys.modules if name.startswith("enas_jax")]

import enas_jax

for folder in folders:
  model = enas_jax.load_exported(folder)
  def apply(*args):
    args = args if model.space == "recurrent" else map(model.preprocess, args)
    return jax.jit(model.module.apply)(model.variables, *args)
  np.savez(f"{folder}_module.npz", **run(apply, raw[folder]))
# The room of the search itself is empty.
rooms = tuple(f"enas_jax.{room}" for room in ("search.", "strategies", "tasks"))
bad = [name for name in sys.modules if name.startswith(rooms)]
assert not bad, bad
"""


def raw_inputs(space, count, model):
  """Pixels, or tokens and a state, of `count` examples."""
  rng = np.random.default_rng(1)
  if space != "recurrent":
    return [rng.integers(256, size=(3, 8, 8, 2), dtype=np.uint8)[:count]]
  size = model.config.hidden_size
  tokens = rng.integers(5, size=(2 + count, count), dtype=np.int32)
  return [tokens, rng.normal(size=(count, size)).astype(np.float32)]


def supergraph_outputs(model, raw):
  """What the shared network itself says."""
  if model.space == "recurrent":
    states = recurrent.apply_child(
      model.child, model.arc, *raw, config=model.config
    )
    return [recurrent.logits(model.child, states), states[-1]]
  images = (raw[0] / np.float32(255) - np.float32(exported.MEAN)) / np.float32(
    exported.STD
  )
  logits, _ = jax.jit(
    lambda child, statistics, images: tiny.NETWORKS[model.space].apply_child(
      child,
      statistics,
      model.arc,
      images,
      config=model.config,
      train=False,
      key=None,
    )
  )(model.child, model.statistics, images)
  return [logits.main]


def leaves_equal(test, found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  test.assertEqual(jax.tree.structure(found), jax.tree.structure(expected))


class _Hub:
  """A folder that stands in for the hub and its client."""

  class errors:
    class HfHubHTTPError(Exception):
      pass

  def __init__(self, place):
    self.place, self.private = place, {}

  def HfApi(self):
    return self

  def create_repo(self, name, private, exist_ok):
    del exist_ok
    if "/" not in name:
      raise self.errors.HfHubHTTPError("401: who are you?")
    self.private[name] = private

  def upload_folder(self, repo_id, folder_path):
    shutil.copytree(folder_path, self.place / repo_id)
    return f"https://hub/{repo_id}"

  def snapshot_download(self, name):
    if not (self.place / name).exists():
      raise self.errors.HfHubHTTPError("404: not there")
    return str(self.place / name)


class RoundTripTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = pathlib.Path(
      cls.enterClassContext(tempfile.TemporaryDirectory())
    )
    cls.models = {
      space: exported.make_model(space) for space in registry.trainable()
    }
    folders = []
    for space, model in cls.models.items():
      folders.append(cls.root / space)
      export.save(folders[-1], model)
      raw = {
        f"{count}_{i}": array
        for count in BATCHES
        for i, array in enumerate(raw_inputs(space, count, model))
      }
      np.savez(folders[-1].with_suffix(".npz"), **raw)
    subprocess.run(
      [sys.executable, "-c", ALONE, *map(str, folders)], cwd=ROOT, check=True
    )

  @parameterized.product(space=registry.trainable(), through=("raw", "module"))
  def test_a_fresh_process_computes_what_the_supergraph_does(
    self, space, through
  ):
    model = self.models[space]
    expected = [
      output
      for count in BATCHES
      for output in supergraph_outputs(model, raw_inputs(space, count, model))
    ]
    found = np.load(f"{self.root / space}_{through}.npz")
    self.assertLen(found, len(expected))
    for i, output in enumerate(expected):
      self.assertGreater(np.std(output), 0.01)
      np.testing.assert_allclose(
        found[str(i)], output, rtol=1e-4, atol=1e-5, err_msg=str(i)
      )

  @parameterized.parameters(*registry.trainable())
  def test_loads_what_was_saved(self, space):
    model = self.models[space]
    loaded = export.load(self.root / space)
    leaves_equal(self, loaded.variables["params"], model.child)
    leaves_equal(
      self, loaded.variables.get("batch_stats", {}), model.statistics
    )
    self.assertEqual(loaded.arc, model.arc)
    self.assertEqual(loaded.config, model.config)
    self.assertEqual(loaded.preprocessing, model.preprocessing)
    self.assertEqual(loaded.card, model.card)
    self.assertEqual(loaded.space, space)

  def test_a_model_goes_to_the_hub_and_back(self):
    hub, folder = _Hub(self.root / "hub"), self.root / "recurrent"
    with mock.patch.dict(sys.modules, {"huggingface_hub": hub}):
      address = export.push(folder, "me/cell", private=True)
      self.assertEqual(address, "https://hub/me/cell")
      self.assertEqual(hub.private, {"me/cell": True})
      loaded = export.load("hub:me/cell")
      self.assertEqual(loaded.arc, self.models["recurrent"].arc)
      leaves_equal(
        self, loaded.variables["params"], self.models["recurrent"].child
      )
      for call, message in (
        (lambda: export.load("hub:me/none"), "hub:me/none: 404: not there"),
        (lambda: export.push(folder, "nobody"), "hub:nobody: 401"),
        (lambda: export.push(self.root, "me/none"), "architecture.json"),
      ):
        with self.assertRaisesRegex(types.InputError, message):
          call()
    with mock.patch.dict(sys.modules, {"huggingface_hub": None}):
      with self.assertRaisesRegex(types.InputError, r"enas_jax\[hub\]"):
        export.load("hub:me/cell")

  def test_files(self):
    folder = self.root / "macro"
    self.assertCountEqual(
      [path.name for path in folder.iterdir()],
      [
        *("weights.safetensors", "architecture.json", "preprocessing.json"),
        *("model.jaxexport", "card.json", "README.md"),
      ],
    )
    modes = {path.stat().st_mode for path in folder.iterdir()}
    self.assertLen(modes, 1)  # who may read one, may read all
    names = safetensors.numpy.load_file(folder / "weights.safetensors")
    self.assertIn("params/classifier/w", names)
    self.assertIn("batch_stats/stem/mean", names)
    card = (folder / "README.md").read_text()
    for fact in ("made up", "python -m train", "0.5", exported.TOKENS["macro"]):
      self.assertIn(fact, card)
    # What the hub reads: JSON, which is YAML.
    head = dict(
      line.split(": ", 1) for line in card.split("---")[1].strip().splitlines()
    )
    self.assertEqual(json.loads(head["license"]), "apache-2.0")
    self.assertEqual(head["pipeline_tag"], "image-classification")
    self.assertIn("macro", json.loads(head["tags"]))
    (entry,) = json.loads(head["model-index"])
    (result,) = entry["results"]
    self.assertEqual(result["dataset"]["name"], "made up")
    metrics = self.models["macro"].card["metrics"]
    self.assertEqual(
      {
        one["name"].replace(" ", "_"): one["value"] for one in result["metrics"]
      },
      metrics,
    )
    # Nothing temporary is left beside the folders.
    self.assertFalse([p for p in self.root.iterdir() if p.name[0] == "."])

  @parameterized.parameters("macro", "recurrent")
  def test_the_code_of_the_card_runs(self, space):
    folder = self.root / space
    blocks = re.findall(
      r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL
    )
    self.assertLen(blocks, 3)
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
      for block in blocks:
        exec(block, {})
    lines = printed.getvalue().splitlines()
    words = getattr(
      self.models[space].preprocessing,
      "vocabulary" if space == "recurrent" else "class_names",
    )
    self.assertIn(lines[0], words)
    self.assertGreater(float(lines[1]), 0)

  @parameterized.parameters("macro", "micro")
  def test_an_image_is_classified_alone(self, space):
    found = np.load(f"{self.root / space}_raw.npz")
    np.testing.assert_allclose(found["0"], found["1"][:1], atol=1e-5)

  def test_serving_function_is_for_all_platforms_and_sizes(self):
    for space, shapes in (
      ("macro", ["uint8[b,8,8,2]"]),
      ("recurrent", ["int32[t,b]", "float32[b,8]"]),
    ):
      blob = (self.root / space / "model.jaxexport").read_bytes()
      serving = jax.export.deserialize(bytearray(blob))
      self.assertEqual(serving.platforms, ("cpu", "cuda", "tpu"))
      self.assertEqual(
        [a.str_short(short_dtypes=False) for a in serving.in_avals], shapes
      )

  def test_serving_function_of_the_package(self):
    serve = export.load_serving(self.root / "recurrent")
    raw = raw_inputs("recurrent", 3, self.models["recurrent"])
    expected = np.load(f"{self.root / 'recurrent'}_raw.npz")
    logits, state = serve(*raw)
    np.testing.assert_allclose(logits, expected["2"], rtol=1e-5)
    np.testing.assert_allclose(state, expected["3"], rtol=1e-5)


class ModuleTest(absltest.TestCase):
  def test_init_is_the_networks_own(self):
    model = exported.make_model("macro")
    module = exported.module_of(model)
    images = jnp.zeros((1, 8, 8, 2))
    variables = jax.jit(module.init)(jax.random.key(0), images)
    leaves_equal(
      self,
      jax.tree.map(lambda a: (a.shape, str(a.dtype)), variables),
      jax.tree.map(lambda a: (a.shape, str(a.dtype)), module.shapes()),
    )
    flat = traverse_util.flatten_dict(variables, sep="/")
    self.assertTrue(np.all(flat["params/stem/scale"] == 1))
    self.assertGreater(np.std(flat["params/stem/w"]), 0)
    self.assertTrue(np.all(flat["batch_stats/stem/variance"] == 1))
    self.assertEqual(flat["batch_stats/steps"], 0)

  def test_fine_tuning_lowers_the_loss_and_moves_the_statistics(self):
    model = exported.make_model("macro")
    module = exported.module_of(model)
    data = tiny.make_images()
    images = model.preprocessing.preprocess(data.train_images)
    optimizer = optax.masked(
      optax.sgd(0.1), lambda tree: {name: name != "stem" for name in tree}
    )

    def loss_fn(params, statistics, key):
      logits, moved = module.apply(
        {"params": params, "batch_stats": statistics},
        images,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
      )
      nats = optax.softmax_cross_entropy_with_integer_labels(
        logits, data.train_labels
      )
      return nats.mean(), moved["batch_stats"]

    grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    params, statistics = model.child, model.statistics
    state, seen = optimizer.init(params), []
    for step in range(10):
      (loss, statistics), grads = grad(params, statistics, jax.random.key(step))
      updates, state = optimizer.update(grads, state, params)
      updates = {
        **updates,
        "stem": jax.tree.map(jnp.zeros_like, params["stem"]),
      }
      params = optax.apply_updates(params, updates)
      seen.append(float(loss))
    self.assertLess(seen[-1], 0.9 * seen[0])
    self.assertEqual(
      int(statistics["steps"]), int(model.statistics["steps"]) + 10
    )
    self.assertGreater(
      np.abs(
        statistics["stem"]["mean"] - model.statistics["stem"]["mean"]
      ).max(),
      0.01,
    )
    leaves_equal(self, params["stem"], model.child["stem"])

  def test_training_keeps_the_layout_of_the_statistics(self):
    module = exported.module_of(exported.make_model("micro"))
    config = dataclasses.replace(module.config, aux_head=True)
    module = module.clone(config=config, image_shape=(20, 20, 2))
    images = jax.ShapeDtypeStruct((4, 20, 20, 2), jnp.float32)
    train = lambda variables, images: module.apply(
      variables,
      images,
      train=True,
      mutable=["batch_stats", "intermediates"],
      rngs={"dropout": jax.random.key(0)},
    )
    logits, moved = jax.eval_shape(train, module.shapes(), images)
    self.assertEqual(logits.shape, (4, 3))
    self.assertEqual(moved["batch_stats"], module.shapes()["batch_stats"])
    (aux,) = moved["intermediates"]["aux_logits"]
    self.assertEqual(aux.shape, (4, 3))

  def test_training_drops_only_with_the_key(self):
    model = exported.make_model("recurrent", drop_output=0.5)
    module = exported.module_of(model)
    variables, raw = {"params": model.child}, raw_inputs("recurrent", 3, model)
    apply = lambda seed: module.apply(
      variables, *raw, train=True, rngs={"dropout": jax.random.key(seed)}
    )
    plain, _ = module.apply(variables, *raw)
    first, state = apply(0)
    again, _ = apply(0)
    other, _ = apply(1)
    np.testing.assert_array_equal(first, again)
    self.assertGreater(np.abs(first - other).max(), 0.01)
    self.assertGreater(np.abs(first - plain).max(), 0.01)
    self.assertEqual(state.shape, (3, model.config.hidden_size))

  def test_other_weights_are_refused_by_shape(self):
    model = exported.make_model("recurrent")
    module = exported.module_of(model)
    child = {**model.child, "w_h": model.child["w_h"][:-1]}
    with self.assertRaisesRegex(Exception, "w_h"):
      module.apply({"params": child}, *raw_inputs("recurrent", 1, model))


if __name__ == "__main__":
  absltest.main()
