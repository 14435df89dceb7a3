"""The model card: what an exported folder is, for people."""

import textwrap
from collections.abc import Mapping
from typing import Any

import jax

from enas_jax.export import modules
from enas_jax.export.description import (
  ImagePreprocessing,
  Model,
  TextPreprocessing,
)

_KINDS = {
  "recurrent": "a recurrent cell between a word embedding and a softmax that"
  " share their weights",
  "macro": "a convolutional network with skip connections",
  "micro": "a convolutional network of two repeated cells",
}
_BATCH_NORM = """\
The cell's batch norm uses the statistics of the batch, in evaluation too, as in
training: what the model says of one text depends on the texts beside it, and
alone a text is lost, as one value has no spread. Serve batches as large as
those of the training.
"""


def text(model: Model, module: modules.Network) -> str:
  """The model card as Markdown; its code runs in the exported folder.

  Args:
    model: what is exported.
    module: its own.
  """
  count = sum(leaf.size for leaf in jax.tree.leaves(module.shapes()["params"]))
  parts = [_head(model, count), _numbers(model.card)]
  if isinstance(model.preprocessing, ImagePreprocessing):
    parts += _image_parts(model.preprocessing, _heads(module))
  else:
    parts += _text_parts(model, model.preprocessing)
  parts.append(_files())
  return "\n".join(parts)


def _head(model: Model, count: int) -> str:
  card, tokens = model.card, model.config.space().to_tokens(model.arc)
  where = f" on {card['dataset']}" if "dataset" in card else ""
  about = (
    f"This is {_KINDS[model.space]} from a search space of Efficient Neural"
    " Architecture Search (Pham et al., 2018), trained with enas_jax"
    f"{where}. It has {count:,} parameters. `architecture.json` says how it is"
    " built; as the tokens of the authors' code it is"
  )
  return "\n".join(
    [
      "---",
      "library_name: enas_jax",
      "---",
      "",
      f"# {card.get('name', f'ENAS {model.space} network')}",
      "",
      textwrap.fill(about, 80),
      "",
      _code("text", textwrap.fill(tokens, 78)),
    ]
  )


def _numbers(card: Mapping[str, Any]) -> str:
  """What the training reported, and how to do it again."""
  lines = ["## Numbers", ""]
  if not card:
    return "\n".join([*lines, "None were given.", ""])
  lines += ["| | |", "|---|---|"]
  rows = {k: v for k, v in card.items() if k not in ("name", "command")}
  for name, value in rows.items():
    found = value if isinstance(value, Mapping) else {"": value}
    for part, one in found.items():
      label = f"{name} {part}".replace("_", " ").strip()
      lines.append(f"| {label} | {_shown(one)} |")
  lines.append("")
  if "command" in card:
    lines += ["The command:", "", _code("console", f"$ {card['command']}")]
  return "\n".join(lines)


def _shown(value: Any) -> str:
  shown = f"{value:.6g}" if isinstance(value, float) else str(value)
  return " ".join(shown.replace("|", "\\|").split())


def _heads(module: Any) -> str:
  """The parameters whose shape depends on the number of classes."""
  other = module.clone(num_classes=module.num_classes + 1)
  own, wider = (m.shapes()["params"] for m in (module, other))
  return " and ".join(f'"{n}"' for n in own if own[n] != wider[n])


def _image_parts(preprocessing: ImagePreprocessing, heads: str) -> list[str]:
  height, width, channels = preprocessing.image_shape
  shape = f"{height}, {width}, {channels}"
  classes = len(preprocessing.class_names)
  return [
    "## Use\n",
    textwrap.fill(
      f"Images are uint8 [b, {shape}]. Scale others to this size; `preprocess`"
      " divides by 255 and standardises each channel. The logits are"
      f" [b, {classes}] float32, in the order of `class_names`. Batch norms use"
      " their moving statistics, so an image's logits do not depend on the"
      " images beside it.",
      80,
    )
    + "\n",
    _code(
      "python",
      f"""\
import numpy as np
from enas_jax import load_exported

model = load_exported(".")  # this folder
pixels = np.zeros((1, {shape}), np.uint8)  # your images
logits = model.module.apply(model.variables, model.preprocess(pixels))
print(model.preprocessing.class_names[int(logits[0].argmax())])
""",
    ),
    "## Fine-tune\n",
    textwrap.fill(
      "`model.module` is a `flax.linen.Module`; `model.variables` holds"
      ' "params" and "batch_stats". For other classes take'
      " `model.module.clone(num_classes=N)`, its `init`, and of the trained"
      f" params all but {heads}.",
      80,
    )
    + "\n",
    _code(
      "python",
      f"""\
import jax
import jax.numpy as jnp
import numpy as np
import optax
from enas_jax import load_exported

model = load_exported(".")
optimizer = optax.sgd(0.01, momentum=0.9, nesterov=True)

def loss_fn(params, batch_stats, images, labels, key):
  logits, moved = model.module.apply(
    {{"params": params, "batch_stats": batch_stats}}, images, train=True,
    mutable=["batch_stats"], rngs={{"dropout": key}},
  )
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return nats.mean(), moved["batch_stats"]

@jax.jit
def step(params, batch_stats, opt_state, images, labels, key):
  (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
    params, batch_stats, images, labels, key)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), batch_stats, opt_state, loss

params, batch_stats = (model.variables[k] for k in ("params", "batch_stats"))
opt_state = optimizer.init(params)
images = model.preprocess(np.zeros((8, {shape}), np.uint8))  # your images
labels = jnp.zeros(8, jnp.int32)  # their classes
params, batch_stats, opt_state, loss = step(
  params, batch_stats, opt_state, images, labels, jax.random.key(0))
print(loss)
""",
    ),
    _serving(
      "The weights and the preprocessing are in it.",
      f"""\
pixels = np.zeros((3, {shape}), np.uint8)  # any number of images
print(serve(pixels))  # logits
""",
    ),
  ]


def _text_parts(model: Model, preprocessing: TextPreprocessing) -> list[str]:
  size, words = model.config.hidden_size, len(preprocessing.vocabulary)
  word = preprocessing.vocabulary[0]
  lines = (
    f"; the end of a line is `{preprocessing.end}`" if preprocessing.end else ""
  )
  unknown = (
    f"; others become `{preprocessing.unknown}`"
    if preprocessing.unknown
    else ", and there is none for unknown ones"
  )
  about = (
    f"The vocabulary has {words:,} words{unknown}{lines}. `preprocess` splits"
    " at white space; prepare the text as that of the training was. The state"
    f" is [b, {size}] float32, zeros at the start of a text."
  )
  return [
    "## Use\n",
    textwrap.fill(about, 80) + "\n",
    *([_BATCH_NORM] if model.config.batch_norm else []),
    _code(
      "python",
      f"""\
import jax.numpy as jnp
from enas_jax import load_exported

model = load_exported(".")  # this folder
tokens = model.preprocess({word!r})  # your text: [T, 1]
state = jnp.zeros((1, {size}))
logits, state = model.module.apply(model.variables, tokens, state)
print(model.preprocessing.vocabulary[int(logits[-1, 0].argmax())])
""",
    ),
    "## Fine-tune\n",
    "`model.module` is a `flax.linen.Module`, and `model.variables` holds"
    ' "params".\n',
    _code(
      "python",
      f"""\
import jax
import jax.numpy as jnp
import optax
from enas_jax import load_exported

model = load_exported(".")
optimizer = optax.chain(optax.clip_by_global_norm(0.25), optax.sgd(1.0))

def loss_fn(params, inputs, targets, state, key):
  logits, state = model.module.apply(
    {{"params": params}}, inputs, state, train=True, rngs={{"dropout": key}})
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  return nats.mean(), state

@jax.jit
def step(params, opt_state, inputs, targets, state, key):
  (loss, state), grads = jax.value_and_grad(loss_fn, has_aux=True)(
    params, inputs, targets, state, key)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state, state, loss

params = model.variables["params"]
opt_state = optimizer.init(params)
tokens = jnp.zeros((9, 4), jnp.int32)  # your text: [T + 1, b]
state = jnp.zeros((4, {size}))
params, opt_state, state, loss = step(
  params, opt_state, tokens[:-1], tokens[1:], state, jax.random.key(0))
print(loss)
""",
    ),
    _serving(
      "The weights are in it.",
      f"""\
tokens = np.zeros((1, 3), np.int32)  # [t, b]: any number of words and texts
state = np.zeros((3, {size}), np.float32)
logits, state = serve(tokens, state)
print(logits)
""",
    ),
  ]


def _serving(holds: str, call: str) -> str:
  about = (
    "`model.jaxexport` is one function, lowered for CPU, CUDA and TPU."
    f" {holds} It needs JAX and flatbuffers, not enas_jax. JAX"
    f" {jax.__version__} wrote it; releases of the six months after that one"
    " can read it."
  )
  start = """\
import pathlib

import jax
import numpy as np
from jax import export

blob = pathlib.Path("model.jaxexport").read_bytes()
serve = jax.jit(export.deserialize(bytearray(blob)).call)
"""
  return "\n".join(
    [
      "## Serve",
      "",
      textwrap.fill(about, 80),
      "",
      _code("python", start + call),
    ]
  )


def _files() -> str:
  return """\
## Files

| | |
|---|---|
| `weights.safetensors` | the variables; names joined by `/` |
| `architecture.json` | space, architecture, options of the network |
| `preprocessing.json` | from pixels or words to what the network reads |
| `model.jaxexport` | the serving function |
| `card.json` | the numbers above |
"""


def _code(language: str, body: str) -> str:
  return f"```{language}\n{body.rstrip()}\n```\n"
