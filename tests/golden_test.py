import dataclasses
import json
import pathlib
import re

import jax
import numpy as np
import pytest

from enas_jax import config as config_lib
from enas_jax import types
from enas_jax.released import macro as released_macro
from enas_jax.released import micro as released_micro
from enas_jax.released import recurrent as released
from enas_jax.released import tables
from enas_jax.spaces import registry
from enas_jax.spaces.macro import arc as macro
from enas_jax.spaces.micro import arc as micro
from enas_jax.spaces.recurrent import network as supergraph
from enas_jax.strategies import controller as controller_lib
from tests import golden_files
from tests.golden import checker, vectors

STEMS = [
  f"ptb_{kind}_N{nodes}"
  for kind in ("controller", "child_search", "child_fixed")
  for nodes in (4, 12)
]
STEMS += [
  f"{space}_controller{ending}"
  for space in ("macro", "micro")
  for ending in ("", "_temp")
]
# Checked by tests/released_m*_test.py and spaces_micro_final_network_test.py.
IMAGE_CHILDREN = {
  "macro_child_search",
  "micro_child_search",
  "micro_child_search_aux",
  "micro_child_fixed",
  "micro_child_fixed_aux",
}
FORWARD = {"logits", "loss", "all_s", "final_state"}


def read(stem: str) -> vectors.Vectors:
  return vectors.read(golden_files.FOLDER / f"{stem}.npz")


def expected(stem: str) -> set[str]:
  """Every output that a case must compare."""
  variables = {
    name
    for name, _ in json.loads(
      (golden_files.FOLDER / f"{stem}.json").read_text()
    )["variables"]
  }
  if "controller" in stem:
    outputs = {"neg_log_prob", "entropy", "grad_neg_log_prob"}
    outputs |= {f"grad_nlp/{name}" for name in variables}
    if stem.startswith("ptb"):
      return outputs | {"neg_log_probs", "ppl"}
    if stem.startswith("micro"):
      return outputs | {"b_soft_initial_value"}
    outputs |= {f"grad_kl/{name}" for name in variables}
    return outputs | {"skip_penalty", "skip_count"}
  outputs, once = set(FORWARD), {"grad_norm", "lr"}
  if "search" in stem:
    outputs |= {"train_loss", "l2_reg_loss"}
    once |= {"train_grad_norm", "train_lr", "train_logits_minus_eval_max"}
  twice = outputs | {
    f"{kind}/{name}" for kind in ("grad", "delta") for name in variables
  }
  return once | twice | {f"static/{name}" for name in twice}


class TestReleasedVectors:
  def test_every_file_of_the_folder_is_known(self) -> None:
    found = {
      vectors.main_file(str(f)).stem for f in golden_files.FOLDER.glob("*.npz")
    }
    assert found - IMAGE_CHILDREN == set(STEMS)

  @pytest.mark.parametrize("stem", STEMS)
  def test_agrees(self, stem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert checker.main([str(golden_files.FOLDER / f"{stem}.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    compared = [line for line in lines if line.endswith(("OK", "FAIL"))]
    for line in compared:
      assert re.fullmatch(
        rf"{stem}  \S+ +(largest error|relative norm) \S+"
        r"  tolerance 1\.00e-0[346]  OK",
        line,
      )
    names = [line.split()[1] for line in compared]
    assert len(set(names)) == len(names)
    assert set(names) == expected(stem)
    rest = "\n".join(line for line in lines if line not in compared)
    assert "not compared" not in rest
    assert "not in the files" not in rest

  def test_a_companion_means_its_main_file(self) -> None:
    for name in ("a/b.npz", "a/b.grads.npz", "a/b.f64.npz"):
      assert vectors.main_file(name) == pathlib.Path("a/b.npz")


class TestDisagreement:
  def test_a_perturbed_controller_fails(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    path = golden_files.copy("ptb_controller_N4", tmp_path)
    with np.load(path) as file:
      weights = file["var/controller/lstm/w"]
    weights[3, 5] += 1.0
    golden_files.change(path, var__controller__lstm__w=weights)
    assert checker.main([str(path)]) == 1
    assert "FAIL" in capsys.readouterr().out

  def test_operations_in_another_order_fail(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    # A search graph with the matrices of sigmoid and identity exchanged, and
    # no companion.
    path = golden_files.copy("ptb_child_search_N4", tmp_path)
    name = "var/child/rnn_cell/layer_1/w"
    with np.load(path) as file:
      held = {n: file[n] for n in file.files if n != "grad_arc"}
    held[name] = held[name][[0, 1, 3, 2]]
    np.savez(path, **held)
    assert checker.main([str(path)]) == 1
    out = capsys.readouterr().out
    assert re.search("  logits .* FAIL\n", out)
    assert "no ptb_child_search_N4.grads.npz" in out

  def test_a_wrong_golden_gradient_fails(self) -> None:
    loaded = read("ptb_child_fixed_N4")
    assert loaded.grads is not None
    name = "language_model/embedding/w"
    golden = loaded.grads.take(f"grad/{name}")
    variables = loaded.grads.take_all("grad/")
    checks = vectors.Checks(loaded)
    for factor, ok in ((1.0009, True), (1.0011, False)):
      ours = {**variables, name: golden * factor}
      checks.tensors(loaded.grads, "grad/", ours)
      found = {c.name: c for c in checks.done}
      assert found.pop(f"grad/{name}").ok == ok
      assert all(c.ok for c in found.values())

  def test_operations_of_the_macro_space_in_another_order_fail(
    self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
  ) -> None:
    path = golden_files.copy("macro_controller", tmp_path)
    with np.load(path) as file:
      weights = file["var/controller/softmax/w"]
    # Our own numbering has them second and third the other way round.
    golden_files.change(
      path, var__controller__softmax__w=weights[:, [0, 2, 1, 3, 4, 5]]
    )
    assert checker.main([str(path)]) == 1
    assert re.search("  neg_log_prob .* FAIL\n", capsys.readouterr().out)


class TestTolerance:
  def checks(self, tmp_path: pathlib.Path, **f64: object) -> vectors.Checks:
    path = tmp_path / "case.npz"
    np.savez(path, out=np.zeros((2, 3)), zero=np.zeros(4), one=np.ones(4))
    path.with_suffix(".json").write_text('{"case": "case", "config": {}}')
    if f64:
      np.savez(path.with_suffix(".f64.npz"), **f64)
    return vectors.Checks(vectors.read(path))

  @pytest.mark.parametrize(
    ("error", "ok"), [(0.99e-4, True), (1.01e-4, False), (np.nan, False)]
  )
  def test_outputs(
    self, tmp_path: pathlib.Path, error: float, ok: bool
  ) -> None:
    checks = self.checks(tmp_path)
    ours = np.zeros((2, 3))
    ours[1, 2] = error
    checks.outputs({"out": ours})
    (done,) = checks.done
    assert done.ok == ok
    assert done.error == pytest.approx(error, nan_ok=True)

  def test_outputs_with_the_release_s_own_error(
    self, tmp_path: pathlib.Path
  ) -> None:
    golden = np.zeros((2, 3))
    golden[0] = 1.0
    checks = self.checks(
      tmp_path, out_f64=golden, tf_err_out=np.array([1e-2, 1e-6])
    )
    ours = golden.copy()
    ours[0, 0] += 2.9e-2
    checks.outputs({"out": ours})
    assert checks.done[-1].ok
    assert checks.done[-1].tolerance == pytest.approx(3e-2)
    # The second architecture is held to 1e-4; its error is the one told.
    ours[1, 0] = 1e-3
    checks.outputs({"out": ours})
    assert not checks.done[-1].ok
    assert checks.done[-1].error == pytest.approx(1e-3)
    assert checks.done[-1].tolerance == pytest.approx(1e-4)

  def test_a_tensor_without_gradient_must_have_none(
    self, tmp_path: pathlib.Path
  ) -> None:
    for zero, ok in ((1e-7, True), (1e-3, False)):
      checks = self.checks(tmp_path)
      ours = {"ero": np.full(4, zero)}
      # The whole gradient is that one tensor of zeros.
      checks.tensors(checks.vectors.main, "z", ours)
      assert checks.done[-1].ok == ok

  def test_what_was_not_compared_is_told(self, tmp_path: pathlib.Path) -> None:
    checks = self.checks(tmp_path)
    checks.outputs({"out": np.zeros((2, 3)), "other": np.zeros(2)})
    assert checker.notes(checks) == [
      "no case.grads.npz: nothing of it is compared",
      "no case.f64.npz: nothing of it is compared",
      "not in the files: other",
      "not compared, of case.npz: zero, one",
    ]


def released_config() -> config_lib.SearchConfig:
  config = config_lib.override(
    registry.preset("released"), "child", num_nodes=3, hidden_size=2
  )
  return config_lib.override(config, "strategy", controller={"hidden_size": 3})


class TestStatistics:
  def test_tolerance_grows_with_what_is_averaged(
    self, tmp_path: pathlib.Path
  ) -> None:
    golden = np.array([0.5, 20.0])
    path = tmp_path / "case.npz"
    np.savez(path, mean=golden / 20, variance=golden)
    path.with_suffix(".json").write_text('{"case": "case", "config": {}}')
    for name, error, ok in (
      ("variance", 0.9e-3, True),
      ("variance", 1.1e-3, False),
      ("variance", 0.2, False),  # one per cent
      ("mean", 0.9e-4, True),
      ("mean", 1.1e-4, False),
    ):
      checks = vectors.Checks(vectors.read(path))
      ours = golden / (20 if name == "mean" else 1)
      checks.statistics({name: ours + np.array([0.0, error])})
      assert checks.done[-1].ok == ok, (name, error)


class TestReleased:
  def test_theta_round_trip(self) -> None:
    config = released_config()
    space = config.child.space()
    shapes = jax.eval_shape(
      controller_lib.Controller(space, config.strategy.controller).init,
      jax.random.key(0),
    )
    rng = np.random.default_rng(0)
    theta = {
      name: rng.random(leaf.shape, np.float32) for name, leaf in shapes.items()
    }
    graph, options = released.CONTROLLER, config.strategy.controller
    named = tables.write(theta, graph, options)
    # Sigmoid and identity have exchanged numbers.
    np.testing.assert_array_equal(
      named["controller/embedding/w"],
      theta["op_embedding"][np.array([0, 1, 3, 2])],
    )
    back = tables.read(named, graph, options)
    jax.tree.map(np.testing.assert_array_equal, theta, back)

  @pytest.mark.parametrize(
    ("name", "space", "graph"),
    [
      ("macro", macro.MacroSpace(3), released_macro.CONTROLLER),
      ("micro", micro.MicroSpace(4), released_micro.CONTROLLER),
    ],
  )
  def test_convolutional_theta_round_trip(
    self,
    name: str,
    space: macro.MacroSpace | micro.MicroSpace,
    graph: tables.Graph,
  ) -> None:
    config = registry.preset("released", name).strategy.controller
    theta = controller_lib.Controller(space, config).init(jax.random.key(0))
    named = tables.write(theta, graph, config)
    # The second operation of the released macro space is our third.
    np.testing.assert_array_equal(
      named["controller/softmax/w"][:, 1],
      theta["op_softmax"][:, 2 if name == "macro" else 1],
    )
    back = tables.read(named, graph, config)
    jax.tree.map(np.testing.assert_array_equal, theta, back)
    for change, pattern in (
      ({"tied_ops": True}, "tied_ops must be false"),
      ({"op_bias": 10.0 - config.op_bias}, "op_bias must be"),
    ):
      other = dataclasses.replace(config, **change)
      with pytest.raises(types.InputError, match=pattern):
        tables.read(named, graph, other)

  def test_omega_round_trip(self) -> None:
    config = released_config().child
    omega = supergraph.init(jax.random.key(0), config, vocabulary_size=5)
    graph = released.SEARCH
    named = tables.write(omega, graph, config)
    # Node 3 reads node 1 by identity: 2 for us, 3 in the release.
    np.testing.assert_array_equal(
      named["child/rnn_cell/layer_3/w"][3, 1],
      omega["w_edge"][2, supergraph.edge_index(3, 1)],
    )
    np.testing.assert_array_equal(
      named["child/rnn_cell/w_prev"][2:], omega["w_h"]
    )
    stored = {f"var/{name}": array for name, array in named.items()}
    for variables in (named, stored):
      back = tables.read(variables, graph, config)
      jax.tree.map(np.testing.assert_array_equal, omega, back)

  def test_child_round_trip(self) -> None:
    loaded = read("ptb_child_fixed_N4")
    variables = loaded.main.take_all("var/")
    config = config_lib.override(
      released_config(), "child", num_nodes=4, hidden_size=32
    ).child
    child = tables.read(variables, released.FIXED, config)
    assert child["w_edge"].shape == (4, 32, 64)
    named = tables.write(child, released.FIXED, config)
    assert named.keys() == variables.keys()
    for name, array in named.items():
      np.testing.assert_array_equal(array, variables[name])

  def test_errors(self) -> None:
    config = released_config()
    child = config.child
    omega = supergraph.init(jax.random.key(0), child, vocabulary_size=5)
    named = tables.write(omega, released.SEARCH, child)

    def fails(pattern: str, variables: object, cell: object) -> None:
      with pytest.raises(types.InputError, match=pattern) as caught:
        tables.read(variables, released.SEARCH, cell)  # type: ignore
      assert "\n" not in str(caught.value)

    name = "child/rnn_cell/layer_2/w"
    without = {n: a for n, a in named.items() if n != name}
    fails(f"lack the variable '{name}'", without, child)
    fails(
      r"'child/rnn_cell/layer_2/w' must have the shape \[4, 2, 2, 4\], got",
      {**named, name: named[name][:3]},
      child,
    )
    fails("must be of floats", {**named, name: named[name].astype(int)}, child)
    bigger = {**named, "child/rnn_cell/layer_4/w": named[name]}
    fails("layer_4/w', which a graph of num_nodes=3 has not", bigger, child)
    for part, changes in (
      ("first_node must be tanh", {"first_node": "sampled"}),
      ("weights_per_op must be true", {"weights_per_op": False}),
      ("batch_norm must be false", {"batch_norm": True}),
    ):
      other = config_lib.override(config, "child", **changes).child
      fails(part, named, other)

    untied = config_lib.override(
      config, "strategy", controller={"tied_ops": False}
    ).strategy
    with pytest.raises(types.InputError, match="tied_ops must be true"):
      tables.read({}, released.CONTROLLER, untied.controller)
