"""``forge completion``: the script that teaches a shell to complete forge's command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import OUTPUT, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

# Bash splits words at = and : itself, so it hands over the line, and gets back only what it will put at the cursor.
_BASH = r"""_forge_complete() {
  local line
  COMPREPLY=()
  compopt +o nospace 2>/dev/null
  while IFS= read -r line; do
    case $line in
      $'\t'*) compopt -o default 2>/dev/null; return ;;
    esac
    line=${line%%$'\t'*}
    case $line in *[=./]) compopt -o nospace 2>/dev/null ;; esac
    COMPREPLY+=("$line")
  done < <("${COMP_WORDS[0]}" __complete bash -- "$COMP_LINE" "$COMP_POINT" "$COMP_WORDBREAKS" 2>/dev/null)
}
complete -F _forge_complete forge
"""

_ZSH = r"""#compdef forge
_forge() {
  local line tab=$'\t'
  local -a closed closed_text open open_text
  for line in "${(@f)$(${words[1]} __complete zsh -- $((CURRENT - 2)) "${(@)words[2,-1]}" 2>/dev/null)}"; do
    if [[ $line == "$tab"* ]]; then _files; return; fi
    [[ -z $line ]] && continue
    local text=${line%%$tab*} meaning=${line#*$tab}
    if [[ $text == *[=./] ]]; then
      open+=("$text"); open_text+=("$text -- $meaning")
    else
      closed+=("$text"); closed_text+=("$text -- $meaning")
    fi
  done
  (( $#closed )) && compadd -Q -l -d closed_text -- "${closed[@]}"
  (( $#open )) && compadd -Q -l -S '' -d open_text -- "${open[@]}"
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _forge "$@"; else compdef _forge forge; fi
"""

_FISH = r"""function __forge_complete
  set -l before (commandline -opc)
  set -l found ($before[1] __complete fish -- (math (count $before) - 1) $before[2..-1] (commandline -ct) 2>/dev/null)
  if string match -q \t'*' -- "$found[1]"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\n' $found
  end
end
complete -c forge -f -a '(__forge_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def _run(context: Context) -> int:
    context.emit(_SCRIPTS[context.words[0]], "completion", f".{context.words[0]}")
    return 0


VERB = Verb(
    name="completion",
    summary="print the completion script for bash, zsh or fish",
    help="""\
Print a script that makes the shell complete verbs, flags, projects, configs, groups and their choices, override keys
and values.

  eval "$(forge completion bash)"                                  # in ~/.bashrc
  eval "$(forge completion zsh)"                                   # in ~/.zshrc, after compinit
  forge completion fish -o ~/.config/fish/completions/forge.fish
""",
    run=_run,
    options=(OUTPUT,),
    positionals=(Positional("SHELL", "bash, zsh or fish", choices=tuple(_SCRIPTS)),),
)
