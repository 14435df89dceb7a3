"""How alike architectures are, and whether a controller's states know it.

Table 1 of Adam & Lorraine (2019): Spearman's correlation of the L2 distance
between the controller's final hidden states of two architectures with what they
have in common, with the edit distance of their graphs, and with how far apart
they are in performance.
"""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import chex
import networkx as nx
import numpy as np
from scipy import stats

from enas_jax.analysis import ranking
from enas_jax.spaces import base
from enas_jax.spaces import graph as graph_lib

# An exact edit distance of graphs of 6 nodes takes 50 ms, of 8 some seconds: up
# to so many nodes it is cheap, for the pairs of so many architectures.
EXACT_NODES = 6
EXACT_ARCS = 32


class EditDistance(NamedTuple):
  """Between two graphs: nodes and edges to insert, delete, or relabel.

  Attributes:
    low: a lower bound.
    high: an upper bound; the distance itself where both are equal.
  """

  low: int
  high: int


def final_distances(hidden: np.ndarray) -> np.ndarray:
  """[S, S] float64: L2 distances of the states at the last decision.

  Args:
    hidden: [S, D, H] float.
  """
  chex.assert_rank(hidden, 3)
  last = np.asarray(hidden[:, -1], np.float64)
  return np.linalg.norm(last[:, None] - last[None], axis=-1)


def common(
  decisions: Sequence[base.Decision], choices: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
  """What every two of S architectures have in common.

  Args:
    decisions: those of the space.
    choices: [S, C] int.

  Returns:
    [S, S] int: how many decisions about an operation both made alike; and how
    many connections both have: equal inputs of a node, and skips that both
    take. None for the latter in a space that decides about no connection.
  """
  chex.assert_rank(choices, 2)
  kinds = np.repeat([d.kind for d in decisions], [d.width for d in decisions])
  ops, inputs, skips = (
    choices[:, kinds == kind] for kind in ("op", "index", "skips")
  )
  alike = _count_equal(ops)
  if not inputs.shape[1] + skips.shape[1]:
    return alike, None
  # The product counts skips that both take: two that are left out are no
  # connection.
  taken = skips.astype(np.int64)
  return alike, _count_equal(inputs) + taken @ taken.T


def _count_equal(entries: np.ndarray) -> np.ndarray:
  return np.sum(entries[:, None] == entries[None], axis=-1)


def as_networkx(graphs: Sequence[graph_lib.Graph]) -> nx.DiGraph:
  """The graphs of one architecture as one, without what only arranges them.

  Args:
    graphs: one for each of its cells, as `Definition.draw` gives them.

  Returns:
    A graph whose nodes are (cell, name) and have a "label": the operation, or
    the kind of those that have none.
  """
  whole = nx.DiGraph()
  for cell, graph in enumerate(graphs):
    for node in graph.nodes:
      whole.add_node((cell, node.name), label=(cell, node.op or node.kind))
    for edge in graph.edges:
      if edge.style != "order":
        whole.add_edge((cell, edge.source), (cell, edge.target))
  return whole


def edit_distance(
  first: nx.DiGraph, second: nx.DiGraph, exact: bool = False
) -> EditDistance:
  """Bounds of the graph edit distance, every edit at a cost of 1.

  The upper bound lets every node keep its name: what a drawing calls node 3 of
  the one is node 3 of the other. The lower one counts labels and edges.

  Args:
    first: a graph as `as_networkx` makes it.
    second: another one.
    exact: whether networkx is to find the distance itself where they differ;
      the time grows with the factorial of the number of nodes.
  """
  low, high = _fewest(first, second), _by_name(first, second)
  if exact and low < high:
    # The bound is reached, so there is an answer, and most edits are not tried.
    distance = nx.graph_edit_distance(
      first,
      second,
      node_match=lambda a, b: a["label"] == b["label"],
      upper_bound=high,
    )
    low = high = round(distance)  # a float of whole edits
  return EditDistance(low, high)


def _by_name(first: nx.DiGraph, second: nx.DiGraph) -> int:
  labels = [dict(graph.nodes(data="label")) for graph in (first, second)]
  shared = labels[0].keys() & labels[1].keys()
  changed = sum(labels[0][name] != labels[1][name] for name in shared)
  lone = len(labels[0].keys() ^ labels[1].keys())
  return changed + lone + len(set(first.edges) ^ set(second.edges))


def _fewest(first: nx.DiGraph, second: nx.DiGraph) -> int:
  """Each edit mends one label or one edge at most."""
  labels = [
    collections.Counter(label for _, label in graph.nodes(data="label"))
    for graph in (first, second)
  ]
  # Labels that both have need no edit, however nodes are matched; each edit of
  # a node mends at most one in either graph.
  kept = (labels[0] & labels[1]).total()
  nodes = max(len(first), len(second)) - kept
  return nodes + abs(first.number_of_edges() - second.number_of_edges())


def edit_distances(graphs: Sequence[nx.DiGraph]) -> tuple[np.ndarray, bool]:
  """Edit distances of every two of S architectures.

  Args:
    graphs: as `as_networkx` makes them.

  Returns:
    [S, S] float64; and whether they are exact. They are if no graph has more
    than `EXACT_NODES` nodes, NaN then beyond the first `EXACT_ARCS`; else they
    are the upper bounds of `edit_distance`.
  """
  count = len(graphs)
  exact = max(map(len, graphs), default=0) <= EXACT_NODES
  distances = np.full((count, count), np.nan)
  for i in range(min(count, EXACT_ARCS) if exact else count):
    distances[i, i] = 0.0
    for j in range(i):
      distance = edit_distance(graphs[i], graphs[j], exact).high
      distances[i, j] = distances[j, i] = distance
  return distances, exact


def correlations(
  distances: np.ndarray,
  measures: Mapping[str, np.ndarray],
  *,
  bootstrap: int = 500,
  confidence: float = 0.95,
  seed: int = 0,
) -> dict[str, ranking.Estimate]:
  """Spearman's correlation of distances with measures, over all pairs.

  Architectures are resampled, not pairs: the pairs of one architecture are not
  independent. Two copies of it in a resample make no pair.

  Args:
    distances: [S, S] float, symmetric.
    measures: by name, [S, S] numbers, symmetric. A pair that has NaN is left
      out.
    bootstrap: number of resamples; 0 leaves the intervals NaN.
    confidence: share of the resamples that an interval holds, in (0, 1).
    seed: seed of the resampling.

  Returns:
    The correlation by name; NaN where one of the two does not vary.
  """
  chex.assert_rank([distances, *measures.values()], 2)
  chex.assert_equal_shape([distances, *measures.values()])
  count = len(distances)
  everyone = np.arange(count)
  values = {
    name: _spearman_of_pairs(distances, measure, everyone)
    for name, measure in measures.items()
  }
  rng = np.random.default_rng(seed)
  resampled: dict[str, list[float]] = {name: [] for name in measures}
  for _ in range(bootstrap):
    drawn = np.sort(rng.integers(count, size=count))
    for name, measure in measures.items():
      resampled[name].append(_spearman_of_pairs(distances, measure, drawn))
  tail = (1.0 - confidence) / 2.0
  return {
    name: ranking.Estimate(
      value, *ranking.interval(np.asarray(resampled[name]), tail)
    )
    for name, value in values.items()
  }


def _spearman_of_pairs(
  distances: np.ndarray, measure: np.ndarray, drawn: np.ndarray
) -> float:
  above, below = np.triu_indices(len(drawn), 1)
  i, j = drawn[above], drawn[below]
  known = (i != j) & np.isfinite(measure[i, j])
  a, b = distances[i, j][known], measure[i, j][known]
  if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
    return math.nan
  return float(stats.spearmanr(a, b).statistic)
