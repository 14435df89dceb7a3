"""The model card: what an exported folder is, for people.

The words are in templates, one for images and one for text, both on top of
`card.md.j2`; here are the values.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jinja2

from enas_jax.export import modules
from enas_jax.export.description import Model, TextPreprocessing
from enas_jax.spaces import registry


def text(model: Model, module: modules.Network) -> str:
  """The model card as Markdown; its code runs in the exported folder.

  Args:
    model: what is exported.
    module: the model's network.
  """
  # No HTML is escaped: the card is Markdown, and its owner's.
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("enas_jax.export"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters["wrap"] = textwrap.fill
  count = sum(leaf.size for leaf in jax.tree.leaves(module.shapes()["params"]))
  values = {
    "name": model.card.get("name", f"ENAS {model.space} network"),
    "kind": registry.get(model.space).about,
    "dataset": model.card.get("dataset"),
    "count": f"{count:,}",
    "tokens": model.config.space().to_tokens(model.arc),
    "numbers": list(_numbers(model.card)),
    "command": model.card.get("command"),
    "jax_version": jax.__version__,
  }
  task = "text-generation"
  if isinstance(module, modules.ImageNetwork):
    task = "image-classification"
    template = "images.md.j2"
    values |= _image_values(model, module)
  else:
    template = "text.md.j2"
    values |= _text_values(model)
  values |= _metadata(model, str(values["name"]), task)
  return environment.get_template(template).render(values)


def _metadata(model: Model, name: str, task: str) -> dict[str, str]:
  """What the hub reads at the head of a card, as JSON, which is YAML."""
  dataset, metrics = model.card.get("dataset"), model.card.get("metrics", {})
  # The hub knows metrics by name: of "test_accuracy" what follows the split.
  result = {
    "task": {"type": task},
    "dataset": {"name": dataset, "type": dataset},
    "metrics": [
      {"type": key.partition("_")[2], "name": key.replace("_", " "), "value": v}
      for key, v in metrics.items()
    ],
  }
  tags = ["neural-architecture-search", "enas", "jax", model.space]
  index = [{"name": name, "results": [result]}]
  return {
    "license": json.dumps(model.card.get("license", "apache-2.0")),
    "task": task,
    "tags": json.dumps(tags),
    "index": json.dumps(index) if dataset and metrics else "",
  }


def _numbers(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  """What the training reported: a label and a value for each row."""
  for name, value in card.items():
    if name not in ("name", "command", "license"):
      parts = value if isinstance(value, Mapping) else {"": value}
      for part, one in parts.items():
        yield f"{name} {part}".replace("_", " ").strip(), _shown(one)


def _shown(value: Any) -> str:
  shown = f"{value:.6g}" if isinstance(value, float) else str(value)
  return " ".join(shown.replace("|", "\\|").split())


def _image_values(model: Model, module: modules.ImageNetwork) -> dict[str, Any]:
  # The parameters whose shape depends on the number of classes.
  other = module.clone(num_classes=module.num_classes + 1)
  shapes, wider = (m.shapes()["params"] for m in (module, other))
  heads = [f'"{name}"' for name in shapes if shapes[name] != wider[name]]
  return {
    "shape": ", ".join(map(str, module.image_shape)),
    "classes": module.num_classes,
    "heads": " and ".join(heads),
  }


def _text_values(model: Model) -> dict[str, Any]:
  preprocessing = model.preprocessing
  assert isinstance(preprocessing, TextPreprocessing)
  return {
    "words": f"{len(preprocessing.vocabulary):,}",
    "word": repr(preprocessing.vocabulary[0]),
    "unknown": preprocessing.unknown,
    "end": preprocessing.end,
    "size": model.config.hidden_size,
    "batch_norm": model.config.batch_norm,
  }
