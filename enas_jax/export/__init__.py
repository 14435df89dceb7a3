"""A trained architecture as a folder that lives without the search.

`save` writes the folder whole or not at all, `push` puts it on Hugging Face's
hub, `load` reads it, here or there, as a Flax module to use and fine-tune, and
`load_serving` as one compiled function. In it:

  weights.safetensors  "params/..." and "batch_stats/...", names joined by "/"
  architecture.json    space, architecture and options of the network
  preprocessing.json   from pixels or words to what the network reads
  model.jaxexport      serving: `jax.export.deserialize` reads it, alone
  card.json, README.md the model card, for machines and for people

None of this imports the search, the controller or the training.
"""

from enas_jax.export.description import (
  ImagePreprocessing,
  Model,
  Preprocessing,
  TextPreprocessing,
  preprocessing_of,
  read_preprocessing,
  to_preprocessing,
)
from enas_jax.export.folder import Exported, load_serving, save
from enas_jax.export.hub import load, push

__all__ = [
  "Exported",
  "ImagePreprocessing",
  "Model",
  "Preprocessing",
  "TextPreprocessing",
  "load",
  "load_serving",
  "preprocessing_of",
  "push",
  "read_preprocessing",
  "save",
  "to_preprocessing",
]
