"""The contract of a search space: its architectures, its network, its entry.

A space is a folder. It states its decisions, and everything else that a search
asks of it, in one `Definition`; `registry` has a line for each. A strategy and
a network know the space and not each other.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from enas_jax import types
from enas_jax.nn import ops
from enas_jax.spaces import graph

Options = Any  # a frozen dataclass with a method `space() -> Space`
OPERATIONS = "op"  # the vocabulary of operations


class Decision(NamedTuple):
  """One step of the controller: what it decides about one node.

  The choices of one architecture are one flat vector: the entries of every
  decision, `width` of them each, in the order of the space's `decisions()`.

  Attributes:
    kind: "op": which operation, scored by a classifier over `num_choices`
      operations. "index": which earlier node, scored by attention over the
      nodes decided so far. "skips": for each of the nodes 0 to
      `num_choices` - 1 whether this node takes it, 0 or 1; the bits are
      independent given the one LSTM step that scores them all.
    node: the node that is decided about, counted from 0.
    num_choices: how many alternatives there are; of "skips", how many bits.
    cell: which cell the node belongs to, where an architecture has several:
      nodes are counted, and attended to, within their cell.
    vocabulary: of "op": what the alternatives are, one word. Decisions of the
      same vocabulary share a classifier and embeddings. "op" are operations, of
      which options such as `omega.op_weights` speak; a width, say, is another.
  """

  kind: str
  node: int
  num_choices: int
  cell: int = 0
  vocabulary: str = OPERATIONS

  @property
  def width(self) -> int:
    """How many entries of the flat choices vector this decision takes."""
    return self.num_choices if self.kind == "skips" else 1


class Space(Protocol):
  """All architectures of one form; frozen, hashable, compared by value.

  An arc is a NamedTuple. Its leaves are int32 arrays in search, [S, ...] for S
  architectures, or tuples of Python ints for a fixed child.
  """

  @property
  def name(self) -> str:
    """The name under which the space is registered; in its JSON as "space"."""
    ...

  def decisions(self) -> tuple[Decision, ...]:
    """What a strategy decides, one after another; C entries in all."""
    ...

  def from_choices(self, choices: types.Array) -> types.Arc:
    """The arc of [..., C] int32 choices, in the order of `decisions()`."""
    ...

  def to_choices(self, arc: types.Arc) -> types.Array:
    """The inverse of `from_choices`: [..., C] int32."""
    ...

  def relax(self, weights: Sequence[ops.Sampled | types.Array]) -> types.Arc:
    """A mixture of architectures; see `decisions.relax`, which makes it.

    Raises:
      InputError: if the space's network runs no mixtures.
    """
    ...

  def sample_uniform(self, key: types.PRNGKey, num_arcs: int) -> types.Arc:
    """Draws `num_arcs` architectures by chance (S): leaves [S, ...] int32."""
    ...

  def validate(self, arc: types.Arc) -> types.Arc:
    """Checks an arc on the host and returns it as Python ints.

    Raises:
      InputError: naming the entry, the rule and the value.
    """
    ...

  def size(self) -> int:
    """How many arcs there are, counted as arrays."""
    ...

  def printed_size(self) -> int:
    """What the space's paper prints, which may differ from the count."""
    ...

  def to_tokens(self, arc: types.Arc) -> str:
    """Integers with spaces between them, as the released code writes arcs."""
    ...

  def from_tokens(self, text: str) -> types.Arc:
    """The inverse of `to_tokens`; raises InputError."""
    ...

  def to_dict(self, arc: types.Arc) -> dict[str, Any]:
    """The architecture, JSON-ready, with "space" and "tokens"."""
    ...

  def from_dict(self, record: Mapping[str, Any]) -> types.Arc:
    """The inverse of `to_dict`; raises InputError."""
    ...


class DataShape(NamedTuple):
  """What a network's weights are made for.

  Attributes:
    vocabulary_size: V, in text.
    image_shape: (H, W, C), of images.
    num_classes: classes of images.
  """

  vocabulary_size: int = 10000  # Penn Treebank's
  image_shape: tuple[int, int, int] = (32, 32, 3)  # CIFAR-10's, as the next
  num_classes: int = 10


class Logits(NamedTuple):
  """What a network for images says of the classes.

  Attributes:
    main: [B, classes] float32.
    aux: [B, classes] float32 of the auxiliary head, or None.
  """

  main: types.Array
  aux: types.Array | None = None


class ImageNetwork(NamedTuple):
  """The functions of a network that reads images.

  `options` are the space's. A child is the weights of one architecture.

  Attributes:
    init: (key, options, num_classes, image shape (H, W, C)) -> omega.
    init_statistics: (options) -> the moving statistics before the first step.
    child_params: (omega, arc, options) -> the child; all of omega for a traced
      arc.
    apply_child: (child, statistics, arc, images [B, H, W, C] float32, *,
      config, train, key, progress) -> (Logits, statistics). `config` are the
      options, `progress` [] float32 in (0, 1] is how much of the training is
      over, 1 if left out; only drop path reads it.
    penalised: (child, options) -> the weights under the l2 penalty.
  """

  init: Callable[..., types.Omega]
  init_statistics: Callable[[Any], types.Statistics]
  child_params: Callable[..., types.Omega]
  apply_child: Callable[..., tuple[Logits, types.Statistics]]
  penalised: Callable[..., types.Omega]

  @property
  def kind(self) -> str:
    """What it reads."""
    return "images"

  def setting(self, data: DataShape) -> dict[str, Any]:
    """What of the data the weights depend on, JSON-ready."""
    return {
      "image_shape": list(data.image_shape),
      "num_classes": data.num_classes,
    }

  def init_for(
    self, key: types.PRNGKey, options: Options, data: DataShape
  ) -> types.Omega:
    """The weights before the first step, for data of that shape."""
    return self.init(key, options, data.num_classes, data.image_shape)

  def apply_one(
    self, child: types.Omega, arc: types.Arc, options: Options, data: DataShape
  ) -> types.Array:
    """[1, classes] float32: the logits of one blank image."""
    # Blank: `spaces.describe` only traces this, for what an image costs.
    logits, _ = self.apply_child(
      child,
      self.init_statistics(options),
      arc,
      jnp.zeros((1, *data.image_shape)),
      config=options,
      train=False,
      key=None,
    )
    return logits.main


class TextNetwork(NamedTuple):
  """The functions of a network that reads text, one word after another.

  `options` are the space's and have a `hidden_size` D, that of the state.

  Attributes:
    init: (key, options, vocabulary_size) -> omega.
    child_params: (omega, arc, options) -> the child's weights.
    add_to_omega: (omega, arc, update) -> omega with an update of the child's
      weights; None where a child is all of omega.
    sample_masks: (key, options, batch_size, vocabulary_size) -> dropout masks
      of one window.
    apply_child: (child, arc, tokens [T, B] int32, state [B, D] float32, *,
      config, masks) -> h_t, [T, B, D] float32, before output dropout.
    nats: (child, states [T, B, D], targets [T, B] int32, masks) -> [T, B]
      float32, nats a token.
    logits: (child, states [T, B, D], masks) -> [T, B, V] float32.
    penalty: (child, form) -> [] float32, the l2 penalty, unweighted; `form` is
      `OmegaConfig.l2_form`.
  """

  init: Callable[..., types.Omega]
  child_params: Callable[..., types.Omega]
  add_to_omega: Callable[..., types.Omega] | None
  sample_masks: Callable[..., Any]
  apply_child: Callable[..., types.Array]
  nats: Callable[..., types.Array]
  logits: Callable[..., types.Array]
  penalty: Callable[..., types.Array]

  @property
  def kind(self) -> str:
    """What it reads."""
    return "text"

  def setting(self, data: DataShape) -> dict[str, Any]:
    """What of the data the weights depend on, JSON-ready."""
    return {"vocabulary_size": data.vocabulary_size}

  def init_for(
    self, key: types.PRNGKey, options: Options, data: DataShape
  ) -> types.Omega:
    """The weights before the first step, for data of that shape."""
    return self.init(key, options, data.vocabulary_size)

  def apply_one(
    self, child: types.Omega, arc: types.Arc, options: Options, data: DataShape
  ) -> types.Array:
    """[1, 1, V] float32: the logits of one token after a zero state."""
    del data
    tokens = jnp.zeros((1, 1), jnp.int32)  # [T, B]: the cost of one token
    state = jnp.zeros((1, options.hidden_size))
    states = self.apply_child(child, arc, tokens, state, config=options)
    return self.logits(child, states)


Network = ImageNetwork | TextNetwork


class TorchChild(Protocol):
  """One architecture in plain eager PyTorch, for comparison.

  It computes the same loss as ours from the same weights, and of the
  architecture's parts none but those that its output depends on.
  """

  def weights(self, child: types.Omega) -> Any:
    """Tensors of a child's weights, or of their gradients.

    Args:
      child: arrays as the network's `child_params` lays them out for an
        architecture of Python ints.

    Returns:
      Nested dicts and lists of float32 tensors, laid out as PyTorch likes it.
    """
    ...

  def batch(self, batch: Any) -> Any:
    """The tensors of a batch of the task, `types.ImageBatch` or `TextBatch`."""
    ...

  def loss(self, weights: Any, batch: Any, *, train: bool) -> Any:
    """The mean cross-entropy without penalties, a [] float32 tensor, nats.

    Args:
      weights: as `weights` returns them.
      batch: as `batch` returns it; text begins with a state of zeros.
      train: whether to drop what the options say.
    """
    ...


class Shape(NamedTuple):
  """The form of an architecture.

  Attributes:
    depth: nodes, or layers, on the longest way from an input to the output;
      of two cells that of the deeper one.
    loose_ends: how many nodes no node reads; of two cells, in both. In a whole
      network: layers that neither a layer nor the classifier reads.
    detail: which they are, JSON-ready, counted from 1 as in the paper.
  """

  depth: int
  loose_ends: int
  detail: dict[str, Any]


class Named(NamedTuple):
  """An architecture with a name.

  Attributes:
    tokens: the architecture in the form of the released code.
    source: what it is, in words.
    options: fields of the space's options that its authors meant.
  """

  tokens: str
  source: str
  options: Mapping[str, Any] = {}


class Published(NamedTuple):
  """A number that the paper prints, beside which ours may stand.

  Attributes:
    error: test perplexity, or test error in per cent; of a perturbation, how
      much it rises.
    source: the section or the table.
    scale: the size of the networks and the data, in words.
  """

  error: float
  source: str
  scale: str


# (space, choices [C] int, source of chance) -> other choices, [C] int.
Change = Callable[["Space", np.ndarray, np.random.Generator], np.ndarray]


class Perturbation(NamedTuple):
  """A change of a good architecture that should make it worse (Section 3.2).

  Attributes:
    change: what is done to its choices; see `spaces.perturbations`.
    about: the same in words.
    drawn: whether chance has a part in it.
    says: the paper's words on what came of it; "": it has none.
    published: what the paper prints, or None.
    same_params: an option that is then set so that the parameters stay as many
      as they can; "": none.
  """

  change: Change
  about: str
  drawn: bool
  says: str = ""
  published: Published | None = None
  same_params: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
  """All that the package asks of a space; what `registry.get` hands over.

  Attributes:
    name: the space's name, as in its `to_dict`.
    title: one of its architectures, with the article: "a recurrent cell".
    about: what one is, in words, for a model card.
    task: the name of the task that trains it, of `tasks.registry`.
    options: the class of its options, a frozen dataclass with `space()`.
    presets: by name, of `config.PRESETS`, the configuration of a search.
    train_presets: the same of the training of one architecture; empty where
      there is none.
    network: the shared network of all architectures.
    fixed: (options, arc of Python ints) -> the network of that architecture
      alone, with weights of its own, laid out as `child_params` does.
    of_record: reads what `Space.to_dict` wrote, of whatever size: (record) ->
      (space, arc of Python ints). Raises InputError.
    of_count: (number of tokens) -> the space whose architectures have so many,
      or the nearest one, whose error then says what is wrong.
    most_tokens: a string of more tokens is not taken for one of this space
      unless the space is named.
    read: (text) -> (space, arc) of a notation of its own, None if it is none.
    named: architectures with a name, the paper's own first.
    vocabularies: by `Decision.vocabulary`, what the alternatives are called in
      the order of their numbers, for people.
    draw: (options, arc of Python ints) -> its graphs: one, or one for each of
      its cells.
    text: (options, arc of Python ints) -> the architecture for a terminal.
    shape: (options, arc of Python ints) -> its depth and loose ends.
    live: (options, arc of Python ints) -> the architecture without what its
      output does not depend on, as far as the space can say so.
    features: (options, arc of arrays [...]) -> [F] float32, what the size of
      the network that the arc describes is a linear function of; traced. None:
      every choice counts for itself, which may be right only nearly.
    ignored_in_search: fields of the options that do nothing in a search.
    benchmark: by part of the configuration, fields of the paper's preset that a
      benchmark without a preset replaces by smaller sizes.
    perturbations: by name, changes after which a good one should be worse.
    published: the paper's test errors: of the "reference", the first of
      `named`; of a "random" one; of shared weights without a search, of one
      that is "sampled" and of an "ensemble" (Section 3.3); and of a search
      with "no_sharing".
    torch_child: (options, arc of Python ints) -> the architecture in PyTorch,
      which it imports when it is called; raises InputError where options ask
      for what that child lacks. None: there is none to compare with.
  """

  name: str
  title: str
  about: str
  task: str
  options: type[Any]
  presets: Mapping[str, Callable[[], Any]]
  train_presets: Mapping[str, Callable[[], Any]]
  network: Network
  fixed: Callable[[Any, types.Arc], Network]
  of_record: Callable[[Mapping[str, Any]], tuple[Any, types.Arc]]
  of_count: Callable[[int], Any]
  draw: Callable[[Any, types.Arc], tuple[graph.Graph, ...]]
  text: Callable[[Any, types.Arc], str]
  shape: Callable[[Any, types.Arc], Shape]
  most_tokens: int | None = None
  read: Callable[[str], tuple[Any, types.Arc] | None] = lambda text: None
  named: Mapping[str, Named] = dataclasses.field(default_factory=dict)
  vocabularies: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  live: Callable[[Any, types.Arc], types.Arc] = lambda options, arc: arc
  features: Callable[[Any, types.Arc], types.Array] | None = None
  ignored_in_search: tuple[str, ...] = ()
  benchmark: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  perturbations: Mapping[str, Perturbation] = dataclasses.field(
    default_factory=dict
  )
  published: Mapping[str, Published] = dataclasses.field(default_factory=dict)
  torch_child: Callable[[Any, types.Arc], TorchChild] | None = None
