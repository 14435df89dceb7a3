"""What a shell offers after `enas`: commands, flags and their values."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from absl import flags

# What a shell reads at its start: `eval "$(enas --completion bash)"`. The shell
# asks `enas --complete` for all that may stand in place of the word begun.
SHELLS = {
  "bash": r"""_enas() {
  local line=${COMP_LINE:0:COMP_POINT}
  local begun=${line##* } word=${COMP_WORDS[COMP_CWORD]}
  # To bash an equals sign ends a word; it wants what follows it alone.
  [[ $word == = ]] && word=
  local told=${begun%"$word"}
  local script=${COMP_WORDS[1]}
  mapfile -t COMPREPLY < <(enas --complete "$begun" "$script" 2>/dev/null)
  COMPREPLY=("${COMPREPLY[@]#"$told"}")
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -F _enas enas""",
  "zsh": r"""_enas() {
  local -a found
  found=("${(@f)$(enas --complete "$PREFIX" "$words[2]" 2>/dev/null)}")
  compadd -S '' -a found
}
compdef _enas enas""",
  "fish": "complete -c enas -f -a '(enas --complete (commandline -ct)"
  " (commandline -opc)[2] 2>/dev/null)'",
}


def show(begun: str, words: Iterable[str]) -> None:
  """Prints those of the words that begin so, a line each."""
  for word in words:
    if word.startswith(begun):
      print(word)
  sys.stdout.flush()


def of_flags(known: Iterable[flags.Flag[Any]], begun: str) -> Iterator[str]:
  """What may be typed for flags.

  Args:
    known: the flags.
    begun: what is typed already: values are told once the flag is.
  """
  for flag in known:
    if flag.boolean:
      yield from (f"--{flag.name}", f"--no{flag.name}")
      continue
    values = getattr(flag.parser, "enum_values", ())
    if values and begun.startswith(f"--{flag.name}="):
      yield from (f"--{flag.name}={value}" for value in values)
    else:
      yield f"--{flag.name}="
